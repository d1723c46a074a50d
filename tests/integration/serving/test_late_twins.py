"""Twins that are made while the version answers: in its place as soon as they are ready, or the reason why not."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow.pyfunc
import pytest
from mlflow import MlflowClient

from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.domain.twins import TwinRefusedError
from mlflow_ext.policy import ServingPolicy
from mlflow_ext.registry.artifacts import directory_of
from mlflow_ext.registry.model_files import manifest_of
from mlflow_ext.registry.twins.making import make_twin
from serving.late_twins import LateTwins
from serving.loader import Loader
from serving.pool import LoadedVersion, Pool
from serving.twins import Twins
from tests.conftest import wait_until
from tests.integration.serving.test_onnx_engine import YES, boosted
from tests.integration.serving.twin_models import save

VERSION = ModelVersion("m", 1, source="models:/m-1")


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedVersion:
    """A version that waits for its twin, with its files where the loader keeps them."""
    files = directory_of(VERSION, tmp_path)
    files.parent.mkdir()
    model = mlflow.pyfunc.load_model(str(save(boosted(YES), files)))
    schema = model.metadata.get_input_schema()
    digest = manifest_of(files).digest
    return LoadedVersion("m", 1, VERSION.source, model, schema, digest=digest, twin_refused="…", twin_later=True)


def loader(directory: Path, make: Any) -> Loader:
    """Make a loader whose twins come from `make`."""
    twins = Twins(MlflowClient(), directory, lambda *_: None, make)
    return Loader(
        *(MlflowClient(), directory, lambda _: ServingPolicy(engine="onnx"), lambda *_: None, lambda _: None, twins)
    )


def test_a_version_answers_by_its_twin_when_that_is_ready(loaded: LoadedVersion, tmp_path: Path) -> None:
    """It takes the place of the version without it, in Production too; a version that is gone stays gone."""
    pool = Pool()
    pool.add(loaded)
    pool.swap(loaded, 7)
    since = pool.describe("m")["since"]
    late = LateTwins(loader(tmp_path, lambda *_: make_twin(loaded.predictor, 1e-9).content).with_twin)
    late.give = pool.improve
    late.start()
    late.offer(replace(loaded, twin_later=False))
    late.offer(loaded)
    wait_until(lambda: pool.champion("m").engine == "onnx", 60)
    said = pool.describe("m")
    assert (said["generation"], said["since"], said["loaded"][0]["engine"]) == (7, since, "onnx")
    assert pool.get("m", 1) is pool.champion("m")
    pool.improve(loaded, loaded)
    assert pool.champion("m").engine == "onnx"


def test_a_twin_that_cannot_be_had(loaded: LoadedVersion, tmp_path: Path) -> None:
    """The version goes on as it was, with the reason; files that were changed since are not converted."""

    def refuse(*_: Any) -> bytes:
        raise TwinRefusedError("nothing like it")

    better = loader(tmp_path, refuse).with_twin(loaded)
    assert (better.plan, better.twin_refused, better.twin_later) == (loaded.plan, "nothing like it", False)
    (directory_of(VERSION, tmp_path) / "MLmodel").write_text("changed")
    assert "changed" in str(loader(tmp_path, refuse).with_twin(loaded).twin_refused)


def test_a_failure_ends_nothing() -> None:
    """Whatever goes wrong with one version, the next one gets its twin."""
    given: list[Any] = []

    def with_twin(one: Any) -> Any:
        if one.version == 1:
            raise RuntimeError("1")
        return one

    late = LateTwins(with_twin)
    late.give = lambda before, better: given.append(better.version)
    late.start()
    for version in (1, 2):
        late.offer(SimpleNamespace(model="m", version=version, twin_later=True))  # type: ignore[arg-type]
    wait_until(lambda: given == [2], 10)
