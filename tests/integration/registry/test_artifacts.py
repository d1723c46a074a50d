"""Fetching a version's files from a real MLflow server: once, whole, and told apart by version and source."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import NotFoundError, UnavailableError, UnsafeModelError
from mlflow_ext.registry.artifacts import fetch
from tests.conftest import free_port
from tests.integration.registered import constant, register, tree


@pytest.fixture
def client(mlflow_url: str) -> MlflowClient:
    """A client of the shared server."""
    return MlflowClient(tracking_uri=mlflow_url, registry_uri=mlflow_url)


def nowhere() -> MlflowClient:
    """A client of a server that does not answer."""
    url = f"http://127.0.0.1:{free_port()}"
    return MlflowClient(tracking_uri=url, registry_uri=url)


@pytest.fixture(scope="module")
def fetched_version(mlflow_url: str) -> ModelVersion:
    """A registered version with an awkward name."""
    return register(mlflow_url, "fetch me. née ünï .. 100%")


def test_fetches_once(client: MlflowClient, fetched_version: ModelVersion, tmp_path: Path) -> None:
    """The files arrive whole, nothing else stays behind, and a second fetch needs no server."""
    path = fetch(client, fetched_version, tmp_path, trust="types")
    assert "MLmodel" in tree(path)
    assert path.parent.parent == tmp_path
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert fetch(nowhere(), fetched_version, tmp_path, trust="types") == path


def test_another_source_is_another_directory(
    client: MlflowClient, fetched_version: ModelVersion, tmp_path: Path
) -> None:
    """A version number that was deleted and given again does not meet the old files."""
    path = fetch(client, fetched_version, tmp_path, trust="types")
    assert fetch(client, replace(fetched_version, source="models:/m-other"), tmp_path, trust="types") != path


def test_several_at_once(client: MlflowClient, fetched_version: ModelVersion, tmp_path: Path) -> None:
    """Processes that fetch the same version at once end with one whole directory."""
    with ThreadPoolExecutor(6) as pool:
        paths = set(pool.map(lambda _: fetch(client, fetched_version, tmp_path, trust="types"), range(6)))
    [path] = paths
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_damaged_copy_is_fetched_again(client: MlflowClient, fetched_version: ModelVersion, tmp_path: Path) -> None:
    """A cached copy that no longer passes is replaced."""
    path = fetch(client, fetched_version, tmp_path, trust="types")
    (path / "MLmodel").unlink()
    assert fetch(client, fetched_version, tmp_path, trust="types") == path
    assert "MLmodel" in tree(path)


def test_missing_versions_and_files(client: MlflowClient, mlflow_url: str, tmp_path: Path) -> None:
    """What MLflow does not have is NotFoundError; a server that does not answer is UnavailableError."""
    with pytest.raises(NotFoundError):
        fetch(client, ModelVersion("no such model", 1), tmp_path, trust="types")
    version = register(mlflow_url, "files gone")
    kept = client.get_model_version_download_uri(version.model, str(version.version))
    assert kept.startswith("mlflow-artifacts:")
    with pytest.raises(UnavailableError):
        fetch(nowhere(), version, tmp_path, trust="types")
    assert tree(tmp_path) == []


def test_a_refused_model_leaves_nothing(client: MlflowClient, mlflow_url: str, tmp_path: Path) -> None:
    """A model that policy does not trust is not kept, and is fetched once policy trusts it."""
    version = register(mlflow_url, "pickled", constant(1.0), serialization_format="cloudpickle")
    with pytest.raises(UnsafeModelError, match="cloudpickle"):
        fetch(client, version, tmp_path, trust="types")
    assert tree(tmp_path) == []
    path = fetch(client, version, tmp_path, trust="code")
    with pytest.raises(UnsafeModelError, match="cloudpickle"):
        fetch(client, version, tmp_path, trust="types")
    assert not path.exists()
    shutil.rmtree(tmp_path)
