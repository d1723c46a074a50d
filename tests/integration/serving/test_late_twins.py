"""Twins that are made while the version answers: in its place as soon as they are ready, or the reason why not."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.registry.artifacts import directory_of
from mlflow_ext.registry.model_files import manifest_of
from serving.bounds import DEFAULT
from serving.late_twins import LateTwins
from serving.loader import Loader, LoadSettings
from serving.metrics import Metrics
from serving.model_host import ModelHost
from serving.pool import Pool
from tests.conftest import wait_until
from tests.integration.serving.hosts import hosting
from tests.integration.serving.test_onnx_engine import YES, boosted
from tests.integration.serving.twin_models import save

VERSION = ModelVersion("m", 1, source="models:/m-1")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The version's files, where hosts look for them."""
    files = directory_of(VERSION, tmp_path)
    files.parent.mkdir()
    return save(boosted(YES), files)


@pytest.fixture
def loader(files: Path, tmp_path: Path) -> Iterator[Loader]:
    """A loader with real hosts, for a policy that wants twins."""
    policy = ModelPolicy.model_validate({"serving": {"engine": "onnx"}})
    settings = LoadSettings("http://127.0.0.1:1", tmp_path, 60, 2 << 30, 2, DEFAULT, 30)
    scratch = tmp_path / "hosts"
    scratch.mkdir()
    with hosting(scratch) as (opens, _):
        yield Loader(opens.hosts, settings, lambda _: policy, lambda *_: None, lambda *_: None, Metrics())


def test_a_version_answers_by_its_twin_when_that_is_ready(loader: Loader, files: Path) -> None:
    """It takes the place of the version without it, in Production too; a version that is gone stays gone."""
    loaded = loader.load_again(VERSION, manifest_of(files).digest)
    assert (loaded.twin_later, loaded.engine) == (True, "python")
    pool = Pool()
    pool.add(loaded)
    pool.swap(loaded, 7)
    since = pool.describe("m")["since"]
    late = LateTwins(loader.with_twin)
    late.give = pool.improve
    late.start()
    late.offer(replace(loaded, twin_later=False))
    late.offer(loaded)
    wait_until(lambda: pool.champion("m").engine == "onnx", 150)
    said = pool.describe("m")
    assert (said["generation"], said["since"], said["loaded"][0]["engine"]) == (7, since, "onnx")
    assert pool.get("m", 1) is pool.champion("m")
    pool.improve(loaded, loaded)
    assert pool.champion("m").engine == "onnx"
    for one in (loaded, pool.champion("m")):
        assert isinstance(one.host, ModelHost)
        one.host.close()


def test_a_twin_that_cannot_be_had(loader: Loader, files: Path) -> None:
    """The version goes on as it was, with the reason; files that were changed since are not converted."""
    loaded = loader.load_again(VERSION, manifest_of(files).digest)
    (files / "MLmodel").write_text("changed")
    better = loader.with_twin(loaded)
    assert (better.plan, better.host, better.twin_later) == (loaded.plan, loaded.host, False)
    assert "changed" in str(better.twin_refused)
    assert isinstance(loaded.host, ModelHost)
    loaded.host.close()


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
