"""Stage, alias and tag in a real MLflow: whichever moved, all three and the serving pointer end up saying the same."""

import warnings
from collections.abc import Callable, Iterator

import pytest
from mlflow import MlflowClient
from mlflow.store.artifact.utils.models import get_model_name_and_version
from sqlalchemy import Engine, text

from mlflow_ext.lifecycle.reconcile import agree_marks, reconcile_pointer
from mlflow_ext.registry.client import MlflowRegistry
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.events import SqlEventLog
from mlflow_ext.store.pointers import SqlPointers
from mlflow_ext.store.registry_view import SqlRegistryView

Move = Callable[[MlflowClient, Engine, str], None]


@pytest.fixture(scope="module")
def engine(mlflow_database_url: str) -> Iterator[Engine]:
    """The database behind MLflow's server."""
    engine = make_engine(mlflow_database_url)
    yield engine
    engine.dispose()


def by_stage(client: MlflowClient, engine: Engine, model: str) -> None:
    """As the older registry UI does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        client.transition_model_version_stage(model, "2", "Production")


def by_alias(client: MlflowClient, engine: Engine, model: str) -> None:
    """As the default registry UI does."""
    client.set_registered_model_alias(model, "production", "2")


def by_tag(client: MlflowClient, engine: Engine, model: str) -> None:
    """As scripts do; the case of the word does not matter."""
    client.set_model_version_tag(model, "2", "stage", "production")


def by_stage_in_sql(client: MlflowClient, engine: Engine, model: str) -> None:
    """A hand in the database, which archives nothing."""
    sql = "UPDATE model_versions SET current_stage = 'Production' WHERE name = :model AND version = 2"
    with engine.begin() as connection:
        connection.execute(text(sql), {"model": model})


def by_alias_in_sql(client: MlflowClient, engine: Engine, model: str) -> None:
    """The alias' row is moved."""
    sql = "UPDATE registered_model_aliases SET version = 2 WHERE name = :model AND alias = 'production'"
    with engine.begin() as connection:
        connection.execute(text(sql), {"model": model})


def by_tag_in_sql(client: MlflowClient, engine: Engine, model: str) -> None:
    """A tag's row is written."""
    sql = "INSERT INTO model_version_tags (name, version, key, value) VALUES (:model, 2, 'stage', 'Production')"
    with engine.begin() as connection:
        connection.execute(text(sql), {"model": model})


@pytest.mark.parametrize("triggers", [True, False], ids=["triggers", "polling"])
@pytest.mark.parametrize(
    "move",
    [by_stage, by_alias, by_tag, by_stage_in_sql, by_alias_in_sql, by_tag_in_sql],
    ids=lambda move: move.__name__,
)
def test_whichever_mark_moves_all_agree(client: MlflowClient, engine: Engine, move: Move, triggers: bool) -> None:
    """Version 1 is in Production by every mark, one mark moves to version 2: all follow, and stay."""
    model = f"marks_{move.__name__}_{triggers}"
    client.create_registered_model(model)
    for _ in range(2):
        client.create_model_version(model, "s3://bucket/model")
    client.set_registered_model_alias(model, "production", "1")
    agree(client, engine, model)
    if not triggers:
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM mlflow_ext.registry_event WHERE model = :model"), {"model": model})
    move(client, engine, model)
    if not triggers:
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM mlflow_ext.registry_event WHERE model = :model"), {"model": model})
    assert agree(client, engine, model) == 2
    first, second = client.get_model_version(model, "1"), client.get_model_version(model, "2")
    assert (first.current_stage, first.aliases, first.tags) == ("Archived", [], {"stage": "Archived"})
    assert (second.current_stage, second.aliases, second.tags) == (
        *("Production", ["production"], {"stage": "Production"}),
    )
    for name in (f"models:/{model}/Production", f"models:/{model}@production"):
        assert get_model_name_and_version(client, name) == (model, "2")
    view, events, pointers = SqlRegistryView(engine), SqlEventLog(engine), SqlPointers(engine)
    assert agree_marks(model, view, events, pointers, MlflowRegistry(client)) == []


@pytest.mark.parametrize("mark", ["stage", "alias", "tag", "version"])
def test_withdrawing_by_any_mark_leaves_nothing_in_production(client: MlflowClient, engine: Engine, mark: str) -> None:
    """Archived, alias deleted, tag removed or the version deleted: the pointer names nothing."""
    model = f"withdrawn_by_{mark}"
    client.create_registered_model(model)
    client.create_model_version(model, "s3://bucket/model")
    client.set_model_version_tag(model, "1", "stage", "Production")
    assert agree(client, engine, model) == 1
    if mark == "stage":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            client.transition_model_version_stage(model, "1", "Archived")
    elif mark == "alias":
        client.delete_registered_model_alias(model, "production")
    elif mark == "tag":
        client.delete_model_version_tag(model, "1", "stage")
    else:
        client.delete_model_version(model, "1")
    assert agree(client, engine, model) is None
    if mark != "version":
        found = client.get_model_version(model, "1")
        assert (found.current_stage, found.aliases, found.tags) == ("Archived", [], {"stage": "Archived"})


def agree(client: MlflowClient, engine: Engine, model: str) -> int | None:
    """Do what the promotion service does after a registry event; the value is the version served."""
    view, events, pointers = SqlRegistryView(engine), SqlEventLog(engine), SqlPointers(engine)
    reconcile_pointer(model, view, pointers, events)
    agree_marks(model, view, events, pointers, MlflowRegistry(client))
    pointer = reconcile_pointer(model, view, pointers, events)
    return pointer.version if pointer else None
