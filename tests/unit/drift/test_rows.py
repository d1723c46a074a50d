"""Records of the spool become typed tables."""

import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from mlflow.types import ColSpec, Schema

from drift.rows import merged, typed_rows
from mlflow_ext.registry.scoring_protocol import ModelColumns, columns_of
from mlflow_ext.spool import PredictionRecord
from mlflow_ext.store.segment_files import INPUT, META, NAME, OUTPUT, ROLE

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)
TYPES = {
    "boolean": (True, pa.bool_()),
    "integer": (3, pa.int32()),
    "long": (3, pa.int64()),
    "float": (1.5, pa.float32()),
    "double": (1.5, pa.float64()),
    "string": ("x", pa.string()),
    "datetime": ("2026-01-01T10:00:00", pa.timestamp("us")),
}


def record(
    row: dict[str, object], predictions: object = (1.0,), *, name: str = "r", count: int = 1
) -> PredictionRecord:
    """An answered request with `count` equal rows."""
    body = json.dumps({"dataframe_records": [row] * count}).encode()
    answer = json.dumps({"predictions": predictions}).encode()
    return PredictionRecord(name, "m", 1, AT, 5, "application/json", body, answer)


@pytest.mark.parametrize("kind", TYPES)
def test_columns_have_the_types_of_the_signature(kind: str) -> None:
    """Whatever JSON made of them; a missing optional column is null of its type."""
    value, expected = TYPES[kind]
    columns = columns_of(Schema([ColSpec(kind, "c"), ColSpec(kind, "absent", required=False)]))
    [table], refused = typed_rows([record({"c": value})], columns)
    assert refused == []
    assert table.schema.field("c").type == expected
    assert table.schema.field("absent").type == expected
    assert table.column("absent").null_count == 1


def test_rows_are_numbered_within_their_request() -> None:
    """Feedback names a row by request id and number."""
    [table], _ = typed_rows(
        [record({"c": 1}, [1, 2], name="a", count=2), record({"c": 2}, [3], name="b")], ModelColumns()
    )
    assert table.select(["request_id", "row", "prediction"]).to_pylist() == [
        {"request_id": "a", "row": 0, "prediction": 1},
        {"request_id": "a", "row": 1, "prediction": 2},
        {"request_id": "b", "row": 0, "prediction": 3},
    ]


def test_an_input_called_like_one_of_ours_keeps_its_name() -> None:
    """It is stored under another name, and says which it had."""
    columns = columns_of(Schema([ColSpec("string", "row"), ColSpec("double", "prediction")]))
    [table], _ = typed_rows([record({"row": "x", "prediction": 2.0})], columns)
    roles = {(one.metadata[ROLE], one.metadata[NAME].decode()) for one in table.schema}
    assert {(META, "row"), (INPUT, "row"), (OUTPUT, "prediction"), (INPUT, "prediction")} <= roles
    assert table.column("input.row").to_pylist() == ["x"]


def test_a_record_with_a_wrong_number_of_answers_is_refused_alone() -> None:
    """The others of the batch stay."""
    tables, refused = typed_rows([record({"c": 1}, name="good"), record({"c": 1}, [1, 2], name="bad")], ModelColumns())
    assert [name for table in tables for name in table.column("request_id").to_pylist()] == ["good"]
    assert [(one.request_id, reason) for one, reason in refused] == [("bad", "1 rows were asked, 2 answered")]


def test_tables_of_different_types_merge() -> None:
    """Whole and broken numbers become numbers; numbers and text become text; new columns are null before."""
    parts = [
        typed_rows([record({"c": 1}, [1])], ModelColumns())[0][0],
        typed_rows([record({"c": 1.5, "d": 1}, [0.5])], ModelColumns())[0][0],
    ]
    assert merged(parts).select(["c", "d", "prediction"]).to_pylist() == [
        {"c": 1.0, "d": None, "prediction": 1.0},
        {"c": 1.5, "d": 1, "prediction": 0.5},
    ]
    parts.append(typed_rows([record({"c": "x"}, ["late"])], ModelColumns())[0][0])
    assert merged(parts).column("c").to_pylist() == ["1", "1.5", "x"]
