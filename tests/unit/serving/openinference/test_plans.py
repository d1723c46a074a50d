"""Plans answer tensors, in the model host."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.host.opened import OpenedVersion
from tests.unit.serving.host_here import HostHere
from tests.unit.serving.in_process import App, app
from tests.unit.serving.openinference.models import load, planned

ON: list[str] = []
"""Which engine computed."""


def watched(opened: OpenedVersion, engine: str) -> OpenedVersion:
    """Note when a plan computes."""
    plan = opened.plan
    assert plan is not None
    compute = plan.compute

    def noted(rows: Any) -> Any:
        ON.append(engine)
        return compute(rows)

    return replace(opened, model=engine, plan=replace(plan, compute=noted, engine=engine))


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The application with one model under each engine, and without a plan."""
    directory: Path = tmp_path_factory.mktemp("plans")
    version = planned(directory)
    assert isinstance(version.host, HostHere)
    opened = version.host.opened
    versions = [replace(version, model=name, host=HostHere(watched(opened, name))) for name in ("kernel", "python")]
    with app(directory / "data", *versions, load(directory, "numbers")) as running:
        yield running


def ask(scoring: App, model: str, *rows: list[Any], datatype: str = "FP64") -> tuple[int, list[Any]]:
    """Ask for predictions of rows in one tensor; gives status and predictions, and forgets earlier computations."""
    ON.clear()
    tensor = {"name": "all", "datatype": datatype, "shape": [len(rows), 3], "data": rows}
    answer = scoring.client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})
    return answer.status_code, answer.json()["outputs"][0]["data"] if answer.status_code == 200 else []


@pytest.mark.parametrize("engine", ["kernel", "python"])
@pytest.mark.parametrize(("rows", "by_host"), [(2, False), (5000, True)])
def test_a_plan_computes(scoring: App, engine: str, rows: int, by_host: bool) -> None:
    """Tensors that are the signature's columns are a plan's to answer: here when they are few, else in the host."""
    status, predictions = ask(scoring, engine, *[[0.125, 2.0, 3.0]] * rows)
    assert (status, predictions) == (200, pytest.approx([5.125] * rows))
    assert [engine] * by_host == ON


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
