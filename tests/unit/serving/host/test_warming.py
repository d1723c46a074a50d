"""Predicting logged requests with a version that is being opened."""

import json
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.types import ColSpec, DataType, Schema

from serving.host.opened import OpenedVersion
from serving.host.warming import predict_logged
from serving.host_request import ModelLoadError
from tests.unit.serving.in_process import Named

LONG_S = 60.0
COLUMNS = Schema([ColSpec(DataType.double, "a"), ColSpec(DataType.string, "b")])


class Model(Named):
    """Remembers how many rows it was asked at a time; does as it is told with certain values of `a`."""

    def __init__(self, told: dict[float, Any] | None = None) -> None:
        """Take what to do by value: an exception is raised, a number is how many seconds to sleep."""
        super().__init__(self._answers)
        self.asked: list[int] = []
        self._told = told or {}

    def _answers(self, data: pd.DataFrame) -> Any:
        self.asked.append(len(data))
        for value, what in self._told.items():
            if value in data["a"].tolist():
                if isinstance(what, Exception):
                    raise what
                time.sleep(what)
        return np.zeros(len(data))


def version(model: Model, schema: Any = COLUMNS) -> OpenedVersion:
    """A version whose model that is."""
    return OpenedVersion("m", 1, None, model, schema)


def requests(*values: float, **more: Any) -> list[pd.DataFrame]:
    """Requests of one row each."""
    return [pd.DataFrame({"a": [value], "b": ["x"], **more}) for value in values]


def test_the_newest_alone_and_the_others_together() -> None:
    """All rows are predicted in two calls; a request of each size is handed on to the plan, with its columns."""
    model = Model()
    found = predict_logged(version(model), requests(3.0, 2.0, 1.0, gone=[7]), LONG_S)
    assert (found.rows, found.passed_over, model.asked) == (3, 0, [1, 2])
    bodies = [json.loads(body)["dataframe_split"] for body in found.bodies]
    assert bodies == [
        {"columns": ["a", "b"], "data": [[3.0, "x"]]},
        {"columns": ["a", "b"], "data": [[2.0, "x"], [1.0, "x"]]},
    ]


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"b": ["x"]}),  # a column that policy drops
        pd.DataFrame({"a": ["1f0c"], "b": ["x"]}),  # one that it hashes
        pd.DataFrame({"a": [13.0], "b": ["x"]}),  # a value on which the model fails
    ],
)
def test_what_the_version_refuses_is_passed_over(rows: pd.DataFrame) -> None:
    """A request that does not fit costs nothing but itself, wherever it is among the others."""
    model = version(Model({13.0: ValueError("thirteen")}))
    for place in range(3):
        some = requests(1.0, 2.0)
        some.insert(place, rows)
        found = predict_logged(model, some, LONG_S)
        assert (found.rows, found.passed_over) == (2, 1)


def test_too_much_memory_is_no_refusal() -> None:
    """A version that wants more memory than it may have for a logged request would want it for the next one, too."""
    with pytest.raises(ModelLoadError, match="more memory"):
        predict_logged(version(Model({2.0: MemoryError()})), requests(1.0, 2.0), LONG_S)


def test_a_slow_model_is_not_asked_everything() -> None:
    """Nothing more is begun when time is up, and not all at once what would take longer than that."""
    model = Model({1.0: 0.2})
    found = predict_logged(version(model), requests(*[1.0] * 50), 0.3)
    assert set(model.asked) == {1}
    assert 1 <= found.rows <= 2


def test_nothing_logged() -> None:
    """A version without logged requests is asked nothing."""
    model = Model()
    assert (predict_logged(version(model), [], LONG_S).rows, model.asked) == (0, [])


def test_a_model_without_a_signature() -> None:
    """It gets the columns as they were logged."""
    found = predict_logged(version(Model(), None), requests(1.0, 2.0), LONG_S)
    assert (found.rows, found.passed_over) == (2, 0)
