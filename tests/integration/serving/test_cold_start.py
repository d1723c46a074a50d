"""A start while PostgreSQL and MLflow are away: the machine serves what it served last, if nobody has touched it."""

import shutil
from pathlib import Path

import httpx

from mlflow_ext.domain.stages import Stage
from mlflow_ext.domain.tokens import Right
from mlflow_ext.registry.client import MlflowRegistry
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.tokens import Tokens
from tests.conftest import wait_until
from tests.integration.registered import constant, register
from tests.integration.serving.service import service

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing", "http://127.0.0.1:1"


def test_a_start_without_postgresql_and_mlflow(
    mlflow_url: str, mlflow_database_url: str, registry: MlflowRegistry, tmp_path: Path
) -> None:
    """Two processes start with nothing but the data directory, are ready, and answer holders of the tokens of before.

    They answer with the version of before, and strangers not at all.
    """
    name = "cold"
    register(mlflow_url, name, constant(7.0))
    registry.set_stage(name, 1, Stage.PRODUCTION)
    engine = make_engine(mlflow_database_url)
    _, text = Tokens(engine).create([Right.SCORE], models=[name])
    engine.dispose()
    shown = {"Authorization": f"Bearer {text}"}
    with service(mlflow_database_url, mlflow_url, tmp_path, auth="token") as running:
        wait_until(lambda: running.score(name, headers=shown).status_code == 200, 30, lambda: running.log)
    with service(*NOWHERE, tmp_path, "--workers", "2", auth="token") as running:
        # one from before, in the same log
        wait_until(lambda: running.log.count("event=ready ") == 1 + 2, 60, lambda: running.log)
        for _ in range(20):
            assert running.score(name).status_code == 401
            answer = running.score(name, headers=shown)
            assert (answer.status_code, answer.json()) == (200, {"predictions": [7.0]})
            assert answer.headers["x-model-version"] == "1"
        assert running.log.count("event=beginning_with_served_last") == 2
        assert running.log.count("event=tokens_from_file") == 2


def test_a_start_with_a_copy_that_somebody_changed(
    mlflow_url: str, mlflow_database_url: str, registry: MlflowRegistry, tmp_path: Path
) -> None:
    """Other files in its place are not served: the answer is 503, with the reason."""
    name = "changed"
    register(mlflow_url, name, constant(7.0))
    registry.set_stage(name, 1, Stage.PRODUCTION)
    with service(mlflow_database_url, mlflow_url, tmp_path) as running:
        running.wait_served(name, 1)
    [copy] = (tmp_path / "models").glob(f"{name}-*/1-*")
    register(mlflow_url, "other", constant(666.0))
    registry.set_stage("other", 1, Stage.PRODUCTION)
    with service(mlflow_database_url, mlflow_url, tmp_path / "other") as running:
        running.wait_served("other", 1)
    [others] = (tmp_path / "other/models").glob("other-*/1-*")
    shutil.rmtree(copy)
    shutil.copytree(others, copy)
    with service(*NOWHERE, tmp_path, ready=False) as running:

        def refused() -> bool:
            try:
                return running.score(name).status_code == 503 and running.model(name)["failures"] != []
            except httpx.TransportError:
                return False

        wait_until(refused, 60, lambda: running.log)
        assert "changed" in running.score(name).json()["message"]
