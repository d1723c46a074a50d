"""A withdrawal under traffic: clients go on being answered, MLflow's marks follow."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from mlflow_ext.domain.stages import Stage
from mlflow_ext.registry.client import MlflowRegistry
from tests.conftest import mlflow_server, wait_until
from tests.integration.registered import constant, register
from tests.integration.serving.service import service

MODEL = "withdrawn"


@pytest.fixture
def own_mlflow(database_url: str, tmp_path: Path) -> Iterator[str]:
    """MLflow beside which no other service runs: the shared one would withdraw by its own policy."""
    with mlflow_server(database_url, tmp_path) as url:
        yield url


def test_clients_are_answered_by_the_former_version_without_a_gap(
    database_url: str, own_mlflow: str, tmp_path: Path
) -> None:
    """Version 2 is archived while requests come: none is refused, version 1 answers and is in Production again."""
    mlflow = MlflowClient(tracking_uri=own_mlflow, registry_uri=own_mlflow)
    registry = MlflowRegistry(mlflow)
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump({"models": {MODEL: {"governance": {"on_withdrawal": "return"}}}}))
    for value in (0.0, 1.0):
        register(own_mlflow, MODEL, constant(value))
    settings = {"config": str(file), "reconcile_s": "2"}
    roles = ("--role", "scoring,promotion")
    with service(database_url, own_mlflow, tmp_path / "data", *roles, **settings) as running:
        for version in (1, 2):
            registry.set_stage(MODEL, version, Stage.PRODUCTION)
            running.wait_served(MODEL, version)
        over = threading.Event()
        seen: list[str] = []
        refused: list[str] = []

        def ask() -> None:
            while not over.is_set():
                answer = running.score(MODEL)
                if answer.status_code == 200:
                    seen.append(answer.headers["x-model-version"])
                else:
                    refused.append(answer.text)

        client = threading.Thread(target=ask)
        client.start()
        try:
            registry.set_stage(MODEL, 2, Stage.ARCHIVED)
            running.wait_served(MODEL, 1)
            wait_until(lambda: _stage(mlflow, 1) is Stage.PRODUCTION, 60, lambda: running.log)
        finally:
            over.set()
            client.join()
        assert not refused, f"{refused[:3]}\n{running.log}"
        assert seen == sorted(seen, reverse=True)
        assert (seen[-1], _stage(mlflow, 2)) == ("1", Stage.ARCHIVED)
        assert mlflow.get_model_version(MODEL, "2").tags["mlflow_ext.rolled_back"].startswith("withdrawn")


def _stage(mlflow: MlflowClient, version: int) -> Stage | None:
    return Stage.parse(mlflow.get_model_version(MODEL, str(version)).current_stage)
