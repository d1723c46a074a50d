"""The `RegistryView` port: the twin and MLflow's tables give the same picture."""

from collections.abc import Callable, Iterator

import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine

from mlflow_ext.domain.stages import Stage
from mlflow_ext.errors import NotFoundError
from mlflow_ext.ports import Registry, RegistryView
from mlflow_ext.registry.client import MlflowRegistry
from mlflow_ext.store.registry_view import SqlRegistryView
from mlflow_ext.testing import MemoryRegistry

Parts = tuple[RegistryView, Registry, Callable[[str], int]]


@pytest.fixture(params=["twin", "postgresql"])
def parts(request: pytest.FixtureRequest) -> Iterator[Parts]:
    """A view, the registry it looks at, and a way to register a version."""
    if request.param == "twin":
        twin = MemoryRegistry()
        yield twin, twin, lambda model: twin.add(model).version
        return
    engine: Engine = request.getfixturevalue("engine")
    url = engine.url.render_as_string(hide_password=False)
    client = MlflowClient(url, url)

    def register(model: str) -> int:
        if not client.search_registered_models(f"name = '{model}'"):
            client.create_registered_model(model)
        return int(client.create_model_version(model, "s3://bucket/model").version)

    yield SqlRegistryView(engine), MlflowRegistry(client), register


def test_versions_come_newest_first_with_their_marks(parts: Parts) -> None:
    """Stage, aliases, tags and description of each version are there."""
    view, registry, register = parts
    assert [register("wine"), register("wine")] == [1, 2]
    registry.set_stage("wine", 1, Stage.PRODUCTION)
    registry.set_alias("wine", "production", 1)
    registry.set_alias("wine", "best", 1)
    registry.set_tags("wine", 1, {"stage": "Production", "team": "red"})
    registry.set_description("wine", 2, "new")
    second, first = view.versions("wine")
    assert (first.version, first.stage, sorted(first.aliases)) == (1, Stage.PRODUCTION, ["best", "production"])
    assert first.tags == {"stage": "Production", "team": "red"}
    assert (second.version, second.stage, second.aliases, second.tags, second.description) == (
        *(2, Stage.NONE, (), {}, "new"),
    )
    assert view.version("wine", 2) == second


def test_a_move_to_production_archives_the_former_one(parts: Parts) -> None:
    """Two versions are never in Production."""
    view, registry, register = parts
    register("wine"), register("wine")
    registry.set_stage("wine", 1, Stage.PRODUCTION)
    registry.set_stage("wine", 2, Stage.PRODUCTION)
    assert [version.stage for version in view.versions("wine")] == [Stage.PRODUCTION, Stage.ARCHIVED]


def test_an_alias_names_one_version_and_can_be_removed(parts: Parts) -> None:
    """Moving an alias takes it from where it was; removing what is not there is fine."""
    view, registry, register = parts
    register("wine"), register("wine")
    registry.set_alias("wine", "production", 1)
    registry.set_alias("wine", "production", 2)
    assert [version.aliases for version in view.versions("wine")] == [("production",), ()]
    registry.delete_alias("wine", "production")
    registry.delete_alias("wine", "production")
    registry.set_tags("wine", 2, {"stage": "Staging"})
    registry.delete_tag("wine", 2, "stage")
    assert [(version.aliases, version.tags) for version in view.versions("wine")] == [((), {}), ((), {})]


def test_models_without_versions_and_unknown_ones(parts: Parts) -> None:
    """Models are named in order; unknown ones have no versions, and asking for one is `NotFoundError`."""
    view, _, register = parts
    register("wine"), register("beer")
    assert view.models() == ["beer", "wine"]
    assert view.versions("tea") == []
    with pytest.raises(NotFoundError, match="no version 3 of model 'wine'"):
        view.version("wine", 3)


def test_changing_what_does_not_exist_is_not_found(parts: Parts) -> None:
    """Both the model and the version must exist."""
    _, registry, register = parts
    register("wine")
    for change in (
        lambda: registry.set_stage("wine", 7, Stage.STAGING),
        lambda: registry.set_alias("tea", "production", 1),
        lambda: registry.set_tags("wine", 7, {"a": "b"}),
        lambda: registry.delete_alias("tea", "production"),
    ):
        with pytest.raises(NotFoundError):
            change()
