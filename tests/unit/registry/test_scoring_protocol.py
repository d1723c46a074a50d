"""Logged requests and answers become the rows that the model saw and gave."""

import json

import pandas as pd
import pytest
from mlflow.types import ColSpec, Schema, TensorSpec

from mlflow_ext.errors import InvalidInputError
from mlflow_ext.registry.scoring_protocol import ModelColumns, columns_of, parse_answer, parse_request, parse_requests

COLUMNS = columns_of(Schema([ColSpec("double", "a"), ColSpec("long", "b"), ColSpec("string", "c")]))
ROWS = [{"a": 1.5, "b": 2, "c": "x"}, {"a": 2.5, "b": 3, "c": "y"}]
FORMATS = {
    "dataframe_split": {"columns": ["a", "b", "c"], "data": [[1.5, 2, "x"], [2.5, 3, "y"]]},
    "dataframe_records": ROWS,
    "instances": ROWS,
    "inputs": {"a": [1.5, 2.5], "b": [2, 3], "c": ["x", "y"]},
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_json_format_gives_the_same_rows(name: str) -> None:
    """All four formats of the protocol, parsed alone or with others."""
    body = json.dumps({name: FORMATS[name]}).encode()
    pd.testing.assert_frame_equal(
        parse_request("application/json; charset=utf-8", body, COLUMNS)[["a", "b", "c"]].astype({"c": object}),
        pd.DataFrame(ROWS).astype({"c": object}),
    )
    [batch], failures = parse_requests([("application/json", body)] * 3, COLUMNS)
    assert failures == {}
    assert batch.rows == [2, 2, 2]
    assert batch.frame["b"].tolist() == [2, 3] * 3


def test_csv_is_parsed_by_the_signature() -> None:
    """As MLflow's server does."""
    frame = parse_request("text/csv", b"a,b,c\n1.5,2,x\n", COLUMNS)
    assert frame.to_dict("records") == [ROWS[0]]


def test_a_bad_request_does_not_take_others_with_it() -> None:
    """It is named with its reason; the others are parsed."""
    good = json.dumps({"dataframe_records": ROWS[:1]}).encode()
    bad = json.dumps({"dataframe_records": [{"a": "no number", "b": 2, "c": "x"}]}).encode()
    wanted = [good, bad, b"no json", good]
    parsed, failures = parse_requests([("application/json", body) for body in wanted], COLUMNS)
    assert sorted(position for batch in parsed for position in batch.positions) == [0, 3]
    assert sorted(failures) == [1, 2]
    assert "a" in failures[1]


def test_tensors_without_names_become_numbered_columns() -> None:
    """A plain array has columns too."""
    import numpy as np

    columns = columns_of(Schema([TensorSpec(np.dtype("float64"), (-1, 2))]))
    frame = parse_request("application/json", b'{"inputs": [[1, 2], [3, 4]]}', columns)
    assert frame.to_dict("list") == {"0": [1.0, 3.0], "1": [2.0, 4.0]}


@pytest.mark.parametrize(
    ("predictions", "columns"),
    [
        ([1, 0], {"prediction": [1, 0]}),
        ([[0.1, 0.9], [0.2, 0.8]], {"prediction_0": [0.1, 0.2], "prediction_1": [0.9, 0.8]}),
        ([{"label": "x", "p": 0.2}], {"prediction_label": ["x"], "prediction_p": [0.2]}),
        ([{"label": "x"}], {"prediction": ["x"]}),
        ({"y": [1.0, 2.0]}, {"prediction": [1.0, 2.0]}),
        ([[1], [1, 2]], {"prediction": [[1], [1, 2]]}),
    ],
)
def test_answers_become_columns(predictions: object, columns: dict[str, list[object]]) -> None:
    """One output is `prediction`, several are numbered or named."""
    frame = parse_answer(json.dumps({"predictions": predictions}).encode())
    assert frame.to_dict("list") == columns


@pytest.mark.parametrize("body", [b"", b"[]", b'{"error_code": "X"}', b'{"predictions": 3}'])
def test_an_answer_without_predictions_is_refused(body: bytes) -> None:
    """Errors and other documents are no predictions."""
    with pytest.raises(InvalidInputError):
        parse_answer(body)


@pytest.mark.parametrize("kind", ["application/xml", ""])
def test_other_content_types_are_refused(kind: str) -> None:
    """They are not of the protocol."""
    with pytest.raises(InvalidInputError, match="content type"):
        parse_request(kind, b"{}", ModelColumns())
