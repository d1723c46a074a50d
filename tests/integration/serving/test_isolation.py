"""A custom pyfunc that exits, loops or eats memory while it predicts: its own requests fail, no other's."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import mlflow.pyfunc
import pytest
from sklearn.linear_model import LinearRegression

from mlflow_ext.domain.stages import ModelVersion, Stage
from mlflow_ext.registry.client import MlflowRegistry
from tests.conftest import wait_until
from tests.integration.registered import ROWS, constant, pointed_at, register
from tests.integration.serving.service import Service, service
from tests.integration.serving.test_swapping import Load

CODE = """
import os
import mlflow
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def predict(self, context, model_input, params=None):
        what = model_input["a"].iloc[0]
        if what == 1:
            os._exit(7)
        while what == 2:
            pass
        if what == 3:
            hoard = [bytearray(1 << 24) for _ in range(1 << 12)]
        return [os.getpid()] * len(model_input)

mlflow.models.set_model(Model())
"""
WILD, PLANNED, UNPLANNED = "isolated wild", "isolated planned", "isolated unplanned"
TIMEOUT_S = 3.0


def wild(mlflow_url: str, directory: Path) -> ModelVersion:
    """Register the pyfunc."""
    (directory / "model.py").write_text(CODE)
    with pointed_at(mlflow_url) as client:
        with mlflow.start_run() as run:
            info = mlflow.pyfunc.log_model(
                name="model", python_model=str(directory / "model.py"), pip_requirements=[], input_example=ROWS[:1]
            )
        client.create_registered_model(WILD)
        made = client.create_model_version(WILD, info.model_uri, run_id=run.info.run_id, model_id=info.model_id)
    return ModelVersion(WILD, int(made.version))


@pytest.fixture(scope="module")
def isolated(mlflow_database_url: str, mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the pyfunc, a model with a kernel, and one that computes in its host."""
    directory = tmp_path_factory.mktemp("isolated")
    config = directory / "mlflow-ext.yaml"
    config.write_text(json.dumps({"models": {WILD: {"serving": {"trust": "code"}}}}))
    with pointed_at(mlflow_url) as client:
        registry = MlflowRegistry(client)
    versions = [
        wild(mlflow_url, directory),
        register(mlflow_url, PLANNED, LinearRegression().fit(ROWS, [1.0] * len(ROWS))),
        register(mlflow_url, UNPLANNED, constant(1.0)),
    ]
    for version in versions:
        registry.set_stage(version.model, version.version, Stage.PRODUCTION)
    with service(
        *(mlflow_database_url, mlflow_url, directory / "data"),
        config=str(config),
        request_timeout_s=str(TIMEOUT_S),
        load_memory_bytes=str(3 << 30),
    ) as running:
        for version in versions:
            wait_until(
                lambda version=version: running.served(version.model) == version.version, 60, lambda: running.log
            )  # type: ignore[misc]
        yield running


def ask(running: Service, what: float) -> httpx.Response:
    """Ask the pyfunc to do something."""
    return running.score(WILD, {"dataframe_split": {"columns": ["a", "b"], "data": [[what, 1.0]]}})


@pytest.mark.parametrize(
    ("what", "statuses", "words"),
    [(1.0, {503}, "exit code 7"), (2.0, {504}, "longer than 3 s"), (3.0, {400, 500, 503, 504}, "")],
    ids=["exits", "loops", "eats memory"],
)
def test_others_do_not_notice(isolated: Service, what: float, statuses: set[int], words: str) -> None:
    """No request of another model is lost, the reason is told, and the pyfunc answers again by itself."""
    wait_until(lambda: ask(isolated, 0.0).status_code == 200, 90, lambda: isolated.log)
    [calm] = isolated.scoring_pids()
    with (
        Load(f"{isolated.url}/models/{PLANNED}/invocations", 2) as planned,
        Load(f"{isolated.url}/models/{UNPLANNED}/invocations", 2) as unplanned,
    ):
        began = time.monotonic()
        answer = ask(isolated, what)
        took_s = time.monotonic() - began
        assert answer.status_code in statuses, answer.text
        assert set(answer.json()) >= {"error_code", "message", "request_id"}
        assert took_s < 60
        if answer.status_code == 503:
            assert "Retry-After" in answer.headers
        wait_until(lambda: ask(isolated, 0.0).status_code == 200, 90, lambda: isolated.log)
    for load in (planned, unplanned):
        assert load.errors == []
        seen = [status for client in load.answers for status, _, _ in client]
        assert set(seen) == {200}
        print(f"{len(seen)} requests of others, 0 lost")
    assert isolated.scoring_pids() == [calm]
    [loaded] = isolated.model(WILD)["loaded"]
    assert words in (loaded["trouble"] or "")
