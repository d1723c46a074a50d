"""The deployments target, as MLflow's users call it, against a real promotion service."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.deployments import PredictionsResponse, get_deploy_client
from mlflow.exceptions import MlflowException

from tests.conftest import wait_until
from tests.integration.registered import BODY, ROWS, constant, register
from tests.integration.serving.service import Service

pytestmark = pytest.mark.usefixtures("client")


@pytest.fixture
def target(serving: Service) -> Any:
    """MLflow's deployment client for our target."""
    return get_deploy_client(f"mlflow-ext:{serving.url}")


def test_a_deployments_whole_life(target: Any, serving: Service, client: MlflowClient, mlflow_url: str) -> None:
    """Create, list, get, predict, update and delete, each followed by what the service answers."""
    name = "deployed"
    first = register(mlflow_url, name, constant(1.0))
    second = register(mlflow_url, name, constant(2.0))
    created = target.create_deployment(
        name, f"models:/{name}/{first.version}", config={"stage": "Production", "wait_s": "60"}
    )
    assert (created["name"], created["version"], created["stage"]) == (name, 1, "Production")
    assert serving.served(name) == 1
    assert (target.get_deployment(name)["name"], target.get_deployment(name)["version"]) == (name, 1)
    assert name in [deployment["name"] for deployment in target.list_deployments()]
    with pytest.raises(MlflowException, match="deployed already, with version 1"):
        target.create_deployment(name, f"models:/{name}/2")

    target.update_deployment(name, f"models:/{name}/{second.version}", config={"stage": "Production", "wait_s": 60})
    answer = target.predict(name, ROWS)
    assert isinstance(answer, PredictionsResponse)
    assert answer.get_predictions("ndarray").tolist() == [2.0, 2.0, 2.0]
    assert client.get_model_version(name, "1").current_stage == "Archived"

    target.delete_deployment(name)
    target.delete_deployment(name)
    wait_until(lambda: serving.score(name).status_code == 503, 30)
    assert client.get_model_version(name, "2").current_stage == "Archived"
    with pytest.raises(MlflowException, match="not deployed") as missing:
        target.get_deployment(name)
    assert missing.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert name not in [deployment["name"] for deployment in target.list_deployments()]


def test_without_options_the_gates_decide(target: Any, client: MlflowClient, mlflow_url: str) -> None:
    """Create puts the version into Staging, which opens a promotion."""
    register(mlflow_url, "staged_by_target")
    created = target.create_deployment("staged_by_target", "models:/staged_by_target/1")
    assert created["stage"] == "Staging"
    assert client.get_model_version("staged_by_target", "1").current_stage == "Staging"


def test_a_model_that_is_not_registered_yet_is_registered(target: Any, client: MlflowClient, mlflow_url: str) -> None:
    """`runs:/…` works as everywhere in MLflow: the deployment's name becomes the registered model's."""
    version = register(mlflow_url, "source_of_target")
    created = target.create_deployment("registered_by_target", f"runs:/{version.run_id}/model")
    assert (created["version"], created["stage"]) == (1, "Staging")
    assert client.get_model_version("registered_by_target", "1").run_id == version.run_id


@pytest.mark.parametrize(
    "inputs",
    [
        ROWS,
        BODY,
        json.dumps(BODY),
        {"a": [0.0], "b": [1.0]},
        {"a": np.array([0.0]), "b": np.array([1.0])},
        {"dataframe_records": [{"a": 0.0, "b": 1.0}]},
        {"inputs": {"a": [0.0], "b": [1.0]}},
    ],
    ids=["frame", "body", "text", "columns", "arrays", "records", "inputs"],
)
def test_inputs_in_every_form(target: Any, mlflow_url: str, client: MlflowClient, inputs: Any) -> None:
    """What MLflow's users hand to `predict` is understood."""
    name = "scored_by_target"
    if not client.search_registered_models(f"name = '{name}'"):
        register(mlflow_url, name, constant(7.0))
        target.create_deployment(name, f"models:/{name}/1", config={"stage": "Production", "wait_s": 60})
    assert set(target.predict(name, inputs)["predictions"]) == {7.0}


def test_mistakes_are_mlflow_exceptions_in_plain_words(target: Any, mlflow_url: str) -> None:
    """The service's own words and error codes come through; our errors never do."""
    register(mlflow_url, "mistaken")
    register(mlflow_url, "another")
    mistakes = {
        "there is no registered model": lambda: target.predict("nowhere", ROWS),
        "name a deployment": lambda: target.predict(None, ROWS),
        "no endpoints": lambda: target.list_deployments(endpoint="x"),
        "a version of 'another'": lambda: target.update_deployment("mistaken", "models:/another/1"),
        "stage=Staging or stage=Production": lambda: target.update_deployment(
            "mistaken", "models:/mistaken/1", config={"stage": "Archived"}
        ),
        "name a version": lambda: target.update_deployment("mistaken"),
        "no version 9|version=9|not found": lambda: target.update_deployment("mistaken", "models:/mistaken/9"),
        "does not answer": lambda: get_deploy_client("mlflow-ext:http://127.0.0.1:9").list_deployments(),
        "still answers with version None": lambda: target.update_deployment(
            "mistaken", "models:/mistaken/1", config={"wait_s": 0.2}
        ),
    }
    for words, mistake in mistakes.items():
        with pytest.raises(MlflowException, match=words):
            mistake()


def test_the_command_line(serving: Service, mlflow_url: str, tmp_path: Path) -> None:
    """`mlflow deployments help|predict` work with the target; run-local says what to start first."""
    environment = {"MLFLOW_TRACKING_URI": mlflow_url, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}

    def mlflow_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "mlflow", "deployments", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)

    assert "wait_s" in mlflow_command("help", "-t", "mlflow-ext").stdout
    refused = mlflow_command("run-local", "-t", "mlflow-ext", "--name", "wine", "-m", "models:/wine/1")
    assert refused.returncode != 0
    assert "start everything with `mlflow-ext up`" in refused.stderr
