"""The service follows the registry: what is in Production answers, without a restart."""

import httpx
import pytest

from mlflow_ext.domain.stages import Stage
from mlflow_ext.registry.client import MlflowRegistry
from tests.conftest import wait_until
from tests.integration.registered import BODY, constant, register
from tests.integration.serving.service import Service


def test_from_nothing_to_production_and_back(serving: Service, registry: MlflowRegistry, mlflow_url: str) -> None:
    """A model goes from unknown over registered to served, swapped and withdrawn, each seen over REST."""
    name = "a life"
    assert serving.score(name).status_code == 404
    register(mlflow_url, name, constant(1.0))
    wait_until(lambda: serving.score(name).status_code == 503, 20, lambda: serving.log)
    waiting = serving.score(name)
    assert "has no version in Production" in waiting.json()["message"]
    assert "mlflow-ext promote" in waiting.json()["message"]
    assert int(waiting.headers["retry-after"]) > 0

    registry.set_stage(name, 1, Stage.PRODUCTION)
    serving.wait_served(name, 1)
    answer = serving.score(name, headers={"X-Request-Id": "mine-1"})
    assert answer.json() == {"predictions": [1.0]}
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["x-model-name"] == name

    register(mlflow_url, name, constant(2.0))
    registry.set_stage(name, 2, Stage.STAGING)
    wait_until(lambda: [one["version"] for one in serving.model(name)["loaded"]] == [1, 2], 20, lambda: serving.log)
    assert serving.served(name) == 1
    two = httpx.post(f"{serving.url}/models/{name}/versions/2/invocations", json=BODY)
    assert (two.json(), two.headers["x-model-version"]) == ({"predictions": [2.0]}, "2")

    registry.set_stage(name, 2, Stage.PRODUCTION)
    serving.wait_served(name, 2)
    account = serving.model(name)
    assert (account["version"], account["generation"]) == (2, 2)
    # the former version stays loaded for a quick return
    assert httpx.post(f"{serving.url}/models/{name}/versions/1/invocations", json=BODY).status_code == 200
    missing = httpx.post(f"{serving.url}/models/{name}/versions/7/invocations", json=BODY)
    assert missing.status_code == 404
    assert "loaded: [1, 2]" in missing.json()["message"]

    registry.set_stage(name, 2, Stage.ARCHIVED)
    wait_until(lambda: serving.score(name).status_code == 503, 20, lambda: serving.log)


@pytest.mark.parametrize("name", ["spaced out", "dots.and..more", "née ünï 日本", "100% & more?#", "per%2Fcent"])
def test_awkward_names(serving: Service, registry: MlflowRegistry, mlflow_url: str, name: str) -> None:
    """Whatever MLflow accepts as a name can be asked for, percent-encoded."""
    from urllib.parse import quote, unquote

    register(mlflow_url, name, constant(3.0))
    registry.set_stage(name, 1, Stage.PRODUCTION)
    quoted = quote(name, safe="")
    serving.wait_served(quoted, 1)
    answer = serving.score(quoted)
    assert answer.json() == {"predictions": [3.0]}
    assert unquote(answer.headers["x-model-name"]) == name
    assert serving.model(quoted)["name"] == name


def test_the_default_model(serving: Service, registry: MlflowRegistry, mlflow_url: str) -> None:
    """`POST /invocations` answers with the configured model."""
    register(mlflow_url, "the default", constant(4.0))
    registry.set_alias("the default", "production", 1)
    serving.wait_served("the default", 1)
    assert httpx.post(f"{serving.url}/invocations", json=BODY).json() == {"predictions": [4.0]}
