"""Plans answer tensors: kernels at once, on the event loop; everything else on a thread, as ever."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.plan import Plan
from tests.unit.serving.in_process import App, app
from tests.unit.serving.openinference.models import load, planned

ON: list[str] = []
"""On which thread each computation ran."""


def watched(plan: Plan, engine: str) -> Plan:
    """Note where a plan computes."""

    def compute(rows: Any) -> Any:
        ON.append(threading.current_thread().name)
        return plan.compute(rows)

    return replace(plan, compute=compute, engine=engine, inline=engine == "kernel")


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The application with one model under each engine, and without a plan."""
    directory: Path = tmp_path_factory.mktemp("plans")
    version = planned(directory)
    assert version.plan is not None
    versions = [replace(version, model=name, plan=watched(version.plan, name)) for name in ("kernel", "python")]
    with app(directory / "data", *versions, load(directory, "numbers")) as running:
        yield running


def ask(scoring: App, model: str, *rows: list[Any], datatype: str = "FP64") -> tuple[int, list[Any]]:
    """Ask for predictions of rows in one tensor; gives status and predictions, and forgets earlier computations."""
    ON.clear()
    tensor = {"name": "all", "datatype": datatype, "shape": [len(rows), 3], "data": rows}
    answer = scoring.client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})
    return answer.status_code, answer.json()["outputs"][0]["data"] if answer.status_code == 200 else []


@pytest.mark.parametrize(("engine", "on_thread"), [("kernel", False), ("python", True)])
def test_where_a_plan_computes(scoring: App, engine: str, on_thread: bool) -> None:
    """A kernel costs less than a thread; a model's own code may take any time."""
    status, predictions = ask(scoring, engine, [1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert (status, predictions) == (200, pytest.approx([6.0, 15.0]))
    [name] = ON
    assert name.startswith("ThreadPoolExecutor") == on_thread


def test_large_bodies_go_to_a_thread(scoring: App) -> None:
    """A body that takes long to read does not hold up the event loop."""
    status, predictions = ask(scoring, "kernel", *[[0.123456789, 1.0, 2.0]] * 5000)
    assert (status, len(predictions)) == (200, 5000)
    assert ON[0].startswith("ThreadPoolExecutor")


def test_what_no_plan_knows(scoring: App) -> None:
    """Missing numbers are the model's affair: its own code answers, once, and so does one without a plan."""
    assert ask(scoring, "kernel", [None, 2.0, 3.0])[0] == 400
    assert ON == []
    assert ask(scoring, "numbers", [None, 2.0, 3.0]) == (200, [None])


def test_every_answer_is_logged_once(scoring: App) -> None:
    """Wherever it was computed, a prediction has one record, in MLflow's protocol."""
    for model, size in (("kernel", 1), ("python", 1), ("kernel", 5000), ("numbers", 1)):
        before = len(scoring.records())
        ask(scoring, model, *[[0.123456789, 1.0, 2.0]] * size)
        [record] = scoring.records()[before:]
        assert (record.model, record.content_type) == (model, "application/json")
        assert record.request.startswith(b'{"dataframe_split"')
        assert record.response.startswith(b'{"predictions": [3.123456789')


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("model", ["planned", "numbers"])
def test_personal_data_in_tensors_does_not_reach_the_disk(tmp_path: Path, model: str, whole: bool) -> None:
    """Columns that policy drops or hashes are out of the prediction log, whatever form the tensors had."""
    policy = {model: {"privacy": {"drop": ["a"], "hash": ["b"]}}}
    inputs = [{"name": "all", "datatype": "FP64", "shape": [1, 3], "data": [4711.5, 4712.5, 1.0]}]
    if not whole:
        values = zip("abc", inputs[0]["data"], strict=True)  # type: ignore[call-overload]
        inputs = [{"name": name, "datatype": "FP64", "shape": [1], "data": [value]} for name, value in values]
    versions = [planned(tmp_path) if model == "planned" else load(tmp_path, model)]
    with app(tmp_path / "data", *versions, models=policy, privacy_key="k" * 32) as scoring:
        assert scoring.client.post(f"/v2/models/{model}/infer", json={"inputs": inputs}).status_code == 200
        [record] = scoring.records()
    assert b"471" not in record.request
    assert b"1.0" in record.request
