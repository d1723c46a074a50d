"""Versions predict the last logged requests before anything points at them: real segments, hosts and services."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import psutil
import pyarrow as pa
import pytest

from drift.rows import typed_rows
from drift.segment_files import write_segment
from mlflow_ext.domain.stages import Stage
from mlflow_ext.registry.client import MlflowRegistry
from mlflow_ext.registry.scoring_protocol import ModelColumns
from mlflow_ext.store.engine import make_engine
from serving.host_opening import OpenedHost
from serving.host_request import ModelLoadError
from tests.conftest import wait_until
from tests.integration.drift.spooled import SINCE, answered, compactor_in
from tests.integration.registered import ROWS, constant, pointed_at, register
from tests.integration.serving.hosts import Opens, hosting
from tests.integration.serving.service import Service, service
from tests.integration.serving.test_host_opening import MODEL, living, made

NAME = "warmed by clients"
POISON = "13.0 in model_input['a'].tolist() and "


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Opens, psutil.Process]]:
    """The process that hosts are forked from, for all tests of this file."""
    with hosting(tmp_path_factory.mktemp("hosts")) as found:
        yield found


def bodies(opened: OpenedHost) -> list[Any]:
    """Give the rows of the requests that a version has answered: its input example, the newest request, the others."""
    return [json.loads(body)["dataframe_split"]["data"] for body in opened.message.bodies]


def segment(directory: Path, *values: float, name: str = "s", arm: str = "champion") -> str:
    """Write a segment with a request for each value, the last one the newest."""
    records = [
        replace(answered(f"{name}-{at}", {"a": value, "b": 1.0}, at=SINCE + timedelta(seconds=at)), arm=arm)
        for at, value in enumerate(values)
    ]
    [table], refused = typed_rows(records, ModelColumns())
    assert refused == []
    uri = str(directory / f"{name}.parquet")
    write_segment(uri, table)
    return uri


def test_the_last_logged_requests_are_predicted(running: tuple[Opens, psutil.Process], tmp_path: Path) -> None:
    """The newest rows of the segments that there are; shadow arms, files that are gone and broken ones cost nothing."""
    (tmp_path / "broken.parquet").write_text("no Parquet")
    logged = (
        str(tmp_path / "gone.parquet"),
        segment(tmp_path, *range(40), name="new"),
        segment(tmp_path, *range(10), name="shadow", arm="shadow"),
        segment(tmp_path, *range(40), name="old"),
    )
    with closing(replace(running[0], logged=logged)(made(tmp_path))) as opened:
        assert (opened.message.warmed_rows, opened.message.passed_over) == (64, 0)
        assert [len(rows) for rows in bodies(opened)] == [3, 1, 63]
        assert bodies(opened)[1] == [[39, 1.0]]
    (tmp_path / "again").mkdir()
    logged = (str(tmp_path / "broken.parquet"), *logged)
    with closing(replace(running[0], logged=logged)(made(tmp_path / "again"))) as opened:
        assert (opened.message.warmed_rows, opened.message.passed_over) == (0, 0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("os.abort()", "predicting the last logged requests ends the process \\(signal SIGABRT\\)"),
        ("os._exit(3)", "predicting the last logged requests ends the process \\(exit code 3\\)"),
        ("time.sleep(3600)", "predicting the last logged requests took longer than 8 s"),
        ("bytearray(64 << 30)", "predicting logged requests takes more memory than it may have"),
    ],
)
def test_a_version_that_dies_of_a_logged_request_is_not_opened(
    running: tuple[Opens, psutil.Process], tmp_path: Path, line: str, reason: str
) -> None:
    """What it does on a request that clients sent is found out here, and told."""
    opens = replace(running[0], timeout_s=8 if "sleep" in line else 120, logged=(segment(tmp_path, 1.0, 13.0, 2.0),))
    with pytest.raises(ModelLoadError, match=reason):
        opens(made(tmp_path, predict=POISON + line))
    wait_until(lambda: not living(running[1]), 60)


def test_a_request_that_it_refuses_is_passed_over(running: tuple[Opens, psutil.Process], tmp_path: Path) -> None:
    """An error is an answer that clients may get; it is counted, and the version is opened."""
    opens = replace(running[0], logged=(segment(tmp_path, 1.0, 13.0, 2.0),))
    with closing(opens(made(tmp_path, predict=f"{POISON}[][1]"))) as opened:
        assert (opened.message.warmed_rows, opened.message.passed_over) == (2, 1)


def test_only_a_bounded_part_of_a_large_segment_is_read(running: tuple[Opens, psutil.Process], tmp_path: Path) -> None:
    """Of a file with many row groups the one with the newest rows is read, wherever it is."""
    [table], _ = typed_rows([answered("r", {"a": 1.0, "b": 1.0})], ModelColumns())
    old = pa.concat_tables([table] * 70_000)
    [new], _ = typed_rows([answered("n", {"a": 5.0, "b": 1.0}, at=SINCE + timedelta(hours=1))], ModelColumns())
    uri = str(tmp_path / "large.parquet")
    write_segment(uri, pa.concat_tables([new, old]))
    with closing(replace(running[0], logged=(uri,))(made(tmp_path))) as opened:
        assert opened.message.warmed_rows == 64
        assert bodies(opened)[1] == [[5.0, 1.0]]


@pytest.fixture(scope="module")
def warm(mlflow_database_url: str, mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose policy lets this file's model run code."""
    directory = tmp_path_factory.mktemp("warm")
    config = directory / "mlflow-ext.yaml"
    config.write_text(json.dumps({"models": {NAME: {"serving": {"trust": "code", "warm_within_s": 120}}}}))
    with service(mlflow_database_url, mlflow_url, directory, reconcile_s="2", config=str(config)) as found:
        yield found


def test_before_a_version_answers_it_has_answered_what_clients_ask(
    warm: Service, registry: MlflowRegistry, mlflow_url: str, mlflow_database_url: str, tmp_path: Path
) -> None:
    """Scored, taken into segments, predicted by the next versions: one dies of it and never answers, one does."""
    name = NAME
    register(mlflow_url, name, constant(1.0))
    registry.set_stage(name, 1, Stage.PRODUCTION)
    warm.wait_served(name, 1)
    for value in (1.0, 13.0, 2.0):
        answer = warm.score(name, {"dataframe_split": {"columns": ["a", "b"], "data": [[value, 0.5]]}})
        assert answer.status_code == 200
    engine = make_engine(mlflow_database_url)
    compactor = compactor_in(warm.data_dir, engine)
    wait_until(lambda: compactor.run_once() == 0 and len(compactor.index.newest(name)) > 0, 60)
    engine.dispose()

    register(mlflow_url, name, constant(2.0))
    registry.set_stage(name, 2, Stage.STAGING)
    wait_until(lambda: 2 in loaded(warm, name), 120, lambda: warm.log)
    two = loaded(warm, name)[2]
    assert two["warmed_rows"] >= 3, warm.log
    assert two["passed_over_requests"] == 0

    deadly(mlflow_url, name, tmp_path)
    registry.set_stage(name, 3, Stage.PRODUCTION)
    wait_until(lambda: warm.model(name)["failures"], 120, lambda: warm.log)
    [failure] = warm.model(name)["failures"]
    assert "predicting the last logged requests ends the process (signal SIGABRT)" in failure["reason"]
    assert warm.served(name) == 1
    registry.set_stage(name, 2, Stage.PRODUCTION)
    warm.wait_served(name, 2)


def deadly(mlflow_url: str, name: str, directory: Path) -> None:
    """Register a version that dies of a value."""
    (directory / "model.py").write_text(MODEL.replace("pass  # predicting", POISON + "os.abort()"))
    with pointed_at(mlflow_url) as client:
        with mlflow.start_run() as run:
            info = mlflow.pyfunc.log_model(
                name="model", python_model=str(directory / "model.py"), pip_requirements=[], input_example=ROWS
            )
        client.create_model_version(name, info.model_uri, run_id=run.info.run_id, model_id=info.model_id)


def loaded(running: Service, name: str) -> dict[int, Any]:
    """Give what is loaded of a model, by version."""
    return {one["version"]: one for one in running.model(name)["loaded"]}
