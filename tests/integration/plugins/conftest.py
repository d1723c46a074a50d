"""One promotion service for the tests of the entry points."""

from collections.abc import Iterator

import mlflow
import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine

from mlflow_ext.store.engine import make_engine
from tests.conftest import clone_database
from tests.integration.registered import pointed_at
from tests.integration.serving.service import Service, service


@pytest.fixture(scope="module")
def serving(mlflow_database_url: str, mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with one scoring process: use model names of your own."""
    with service(mlflow_database_url, mlflow_url, tmp_path_factory.mktemp("serving"), reconcile_s="2") as running:
        yield running


@pytest.fixture(scope="module")
def database(postgres: str, template_database: str) -> Iterator[Engine]:
    """A database for a server of the module's own."""
    for url in clone_database(postgres, template_database):
        engine = make_engine(url)
        yield engine
        engine.dispose()


@pytest.fixture
def client(mlflow_url: str) -> Iterator[MlflowClient]:
    """MLflow's client; this process's MLflow points at the server as well."""
    with pointed_at(mlflow_url) as client:
        yield client
    assert mlflow.active_run() is None
