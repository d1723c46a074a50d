"""What waits, as metrics of two scoring processes: requests for their turn, predictions for their segment."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import mlflow.pyfunc
import pytest

from mlflow_ext.domain.stages import Stage
from mlflow_ext.registry.client import MlflowRegistry
from mlflow_ext.store.engine import make_engine
from tests.conftest import wait_until
from tests.integration.drift.spooled import compactor_in
from tests.integration.registered import ROWS, pointed_at
from tests.integration.serving.service import Service, service

NAME = "waited for"
CODE = """
import os, time
import mlflow
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def predict(self, context, model_input, params=None):
        while model_input["a"].iloc[0] == 7 and not os.path.exists({gate!r}):
            time.sleep(0.01)
        return [0.0] * len(model_input)

mlflow.models.set_model(Model())
"""
REQUESTS = 12


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Requests of value 7 are not answered before this file exists."""
    return tmp_path / "gate"


@pytest.fixture
def waiting(
    mlflow_database_url: str, mlflow_url: str, tmp_path: Path, registry: MlflowRegistry, gate: Path
) -> Iterator[Service]:
    """A service of two processes that compute one request at a time each."""
    (tmp_path / "model.py").write_text(CODE.format(gate=str(gate)))
    with pointed_at(mlflow_url) as client:
        with mlflow.start_run() as run:
            info = mlflow.pyfunc.log_model(
                name="model", python_model=str(tmp_path / "model.py"), pip_requirements=[], input_example=ROWS
            )
        client.create_registered_model(NAME)
        client.create_model_version(NAME, info.model_uri, run_id=run.info.run_id, model_id=info.model_id)
    registry.set_stage(NAME, 1, Stage.PRODUCTION)
    config = tmp_path / "mlflow-ext.yaml"
    config.write_text(json.dumps({"models": {NAME: {"serving": {"trust": "code"}}}}))
    settings = {"scoring_threads": "1", "request_timeout_s": "300", "config": str(config)}
    with service(mlflow_database_url, mlflow_url, tmp_path / "data", "--workers", "2", **settings) as running:
        running.wait_served(NAME, 1)
        yield running
        gate.touch()
    registry.set_stage(NAME, 1, Stage.ARCHIVED)


def metric(running: Service, name: str) -> float | None:
    """Give a metric's value, whichever process answers."""
    for line in httpx.get(f"{running.url}/metrics", timeout=60).text.splitlines():
        if line.startswith(f"mlflow_ext_{name}"):
            return float(line.split()[-1])
    return None


def test_what_waits_in_two_processes(waiting: Service, gate: Path, mlflow_database_url: str) -> None:
    """All requests but those that are computed are pending; unread predictions grow old until they are read."""
    pending = f'pending_requests{{model="{NAME}"}}'
    wait_until(lambda: metric(waiting, pending) == 0, 60, lambda: waiting.log)
    body = {"dataframe_split": {"columns": ["a", "b"], "data": [[7.0, 1.0]]}}
    with ThreadPoolExecutor(REQUESTS) as clients:

        def score(_: int) -> int:
            return httpx.post(f"{waiting.url}/models/{NAME}/invocations", json=body, timeout=300).status_code

        answers = [clients.submit(score, number) for number in range(REQUESTS)]
        try:
            # a kernel may give all connections to one of the two
            wait_until(lambda: metric(waiting, pending) in (REQUESTS - 2, REQUESTS - 1), 120, lambda: waiting.log)
        finally:
            gate.touch()
        assert {answer.result() for answer in answers} == {200}
    wait_until(lambda: metric(waiting, pending) == 0, 60, lambda: waiting.log)

    wait_until(lambda: (metric(waiting, "spool_lag_seconds") or 0) > 2, 60, lambda: waiting.log)
    engine = make_engine(mlflow_database_url)
    compactor_in(waiting.data_dir, engine).run_once()
    engine.dispose()
    wait_until(lambda: metric(waiting, "spool_lag_seconds") == 0, 60, lambda: waiting.log)
