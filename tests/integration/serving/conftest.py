"""One promotion service for the tests that do not disturb it."""

from collections.abc import Iterator

import pytest
from mlflow import MlflowClient

from mlflow_ext.domain.stages import Stage
from mlflow_ext.registry.client import MlflowRegistry
from tests.integration.serving.service import Service, service


@pytest.fixture(scope="session")
def serving(mlflow_database_url: str, mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with one scoring process, shared by the session: use model names of your own."""
    with service(
        mlflow_database_url,
        mlflow_url,
        tmp_path_factory.mktemp("serving"),
        default_model="the default",
        reconcile_s="2",
    ) as running:
        yield running


@pytest.fixture
def registry(mlflow_url: str) -> MlflowRegistry:
    """The registry, changed as users do."""
    return MlflowRegistry(MlflowClient(tracking_uri=mlflow_url, registry_uri=mlflow_url))


__all__ = ["Stage", "registry", "serving"]
