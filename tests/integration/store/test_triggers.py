"""The registry triggers: what they record, and that a failure of ours never breaks a change in MLflow."""

import logging

import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine, text

from mlflow_ext.domain.events import RegistryEventKind
from mlflow_ext.domain.stages import Stage
from mlflow_ext.registry.client import MlflowRegistry
from mlflow_ext.store import schema
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.events import SqlEventLog
from mlflow_ext.store.notifications import PgNotifications
from mlflow_ext.store.registry_view import SqlRegistryView
from mlflow_ext.store.triggers import triggers_installed


@pytest.fixture
def client(engine: Engine) -> MlflowClient:
    """MLflow's client on the test's database, with model `wine`, version 1 in Production by every mark."""
    url = engine.url.render_as_string(hide_password=False)
    client = MlflowClient(url, url)
    client.create_registered_model("wine")
    client.create_model_version("wine", "s3://bucket/model")
    MlflowRegistry(client).set_stage("wine", 1, Stage.PRODUCTION)
    client.set_registered_model_alias("wine", "production", "1")
    client.set_model_version_tag("wine", "1", "stage", "Production")
    return client


def events(engine: Engine) -> list[tuple[str, str, int | None, str, str | None, str | None]]:
    """Everything in the outbox that a fresh consumer has not seen; the cursor moves on."""
    log = SqlEventLog(engine)
    found = log.read("test")
    if found:
        log.advance("test", found[-1])
    return [(e.model, e.kind.value, e.version, e.key, e.old, e.new) for e in found]


def test_a_renamed_model_is_gone_under_its_old_name_and_comes_under_the_new(
    client: MlflowClient, engine: Engine
) -> None:
    """Consumers of either name are woken up, so that the old pointer is withdrawn and the new one set."""
    events(engine)
    client.rename_registered_model("wine", "vino")
    found = events(engine)
    assert sorted(found, key=str) == sorted(
        [
            ("wine", "version", 1, "", "Production", None),
            ("vino", "version", 1, "", None, "Production"),
            ("wine", "alias", 1, "production", "1", None),
            ("vino", "alias", 1, "production", None, "1"),
            ("wine", "tag", 1, "stage", "Production", None),
            ("vino", "tag", 1, "stage", None, "Production"),
        ],
        key=str,
    )


def test_a_deleted_version_and_a_deleted_model_are_seen(client: MlflowClient, engine: Engine) -> None:
    """MLflow keeps a deleted version's row and drops a deleted model's; both leave events, and the view hides both."""
    events(engine)
    client.delete_model_version("wine", "1")
    assert ("wine", "stage", 1, "", "Production", "Deleted_Internal") in events(engine)
    view = SqlRegistryView(engine)
    assert (view.versions("wine"), view.models()) == ([], [])
    client.delete_registered_model("wine")
    assert ("wine", "version", 1, "", "Deleted_Internal", None) in events(engine)


def test_prompts_are_no_models(client: MlflowClient, engine: Engine) -> None:
    """MLflow's prompt registry shares the tables and often has an alias `production`; it is left alone."""
    client.register_prompt("greeting", "Hello, {{ name }}")
    client.set_prompt_alias("greeting", "production", 1)
    view = SqlRegistryView(engine)
    assert view.models() == ["wine"]
    assert view.versions("greeting") == []


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE mlflow_ext.registry_event CASCADE",
        "ALTER TABLE mlflow_ext.registry_event RENAME TO elsewhere",
        "TRUNCATE mlflow_ext.registry_event; ALTER TABLE mlflow_ext.registry_event ADD COLUMN more text NOT NULL",
        "ALTER TABLE mlflow_ext.registry_event ADD CONSTRAINT never CHECK (false) NOT VALID",
        "DROP FUNCTION mlflow_ext.append_registry_event",
        "DROP SCHEMA mlflow_ext CASCADE",
    ],
)
def test_a_failure_of_ours_does_not_break_a_change_in_mlflow(client: MlflowClient, engine: Engine, damage: str) -> None:
    """With our table gone, changed or refusing, every kind of registry change still succeeds."""
    with engine.begin() as connection:
        connection.execute(text(damage))
    client.create_model_version("wine", "s3://bucket/model")
    MlflowRegistry(client).set_stage("wine", 2, Stage.PRODUCTION)
    client.set_registered_model_alias("wine", "production", "2")
    client.set_model_version_tag("wine", "2", "stage", "Production")
    client.rename_registered_model("wine", "vino")
    first, second = client.get_model_version("vino", "1"), client.get_model_version("vino", "2")
    assert (first.current_stage, second.current_stage, second.aliases) == ("Archived", "Production", ["production"])
    client.delete_registered_model("vino")


def test_a_lock_on_our_table_holds_mlflow_up_for_seconds_at_most(client: MlflowClient, engine: Engine) -> None:
    """A migration of ours that hangs with a lock does not hang MLflow: the event is given up, the change is made."""
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE mlflow_ext.registry_event"))
        client.set_model_version_tag("wine", "1", "team", "red")
    assert client.get_model_version("wine", "1").tags["team"] == "red"


def test_without_mlflows_tables_it_is_said_that_polling_alone_works(
    empty_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The upgrade succeeds, logs the lack of triggers, and reports it."""
    engine = make_engine(empty_database_url)
    with caplog.at_level(logging.WARNING):
        schema.upgrade(engine)
    assert "triggers_not_installed" in caplog.text
    with engine.connect() as connection:
        assert not triggers_installed(connection)
    engine.dispose()


def test_a_disabled_trigger_counts_as_none(client: MlflowClient, engine: Engine) -> None:
    """Someone switched one trigger off: status says so."""
    with engine.begin() as connection:
        assert triggers_installed(connection)
        connection.execute(text("ALTER TABLE model_versions DISABLE TRIGGER mlflow_ext_registry_change"))
        assert not triggers_installed(connection)


def test_kinds_are_the_domains_own(client: MlflowClient, engine: Engine) -> None:
    """What the triggers write as kind is what the domain knows."""
    assert {kind for _, kind, *_ in events(engine)} == {kind.value for kind in RegistryEventKind}


def test_whoever_listens_is_told_of_marks_alone(client: MlflowClient, engine: Engine, database_url: str) -> None:
    """Gates write several tags to a version, and each look at a model costs everybody who listens something."""
    notifications = PgNotifications(database_url)
    with notifications.listen(30) as news:
        assert next(news) is None
        client.set_model_version_tag("wine", "1", "mlflow_ext.gates", "passed")
        client.set_model_version_tag("wine", "1", "team", "red")
        client.delete_model_version_tag("wine", "1", "team")
        # names a model in its notification, and comes after all of those
        client.create_registered_model("last")
        client.create_model_version("last", "s3://bucket/model")
        assert next(news) == "last"
        client.set_model_version_tag("wine", "1", "stage", "Archived")
        assert next(news) == "wine"
        client.delete_registered_model_alias("wine", "production")
        assert next(news) == "wine"
        MlflowRegistry(client).set_stage("wine", 1, Stage.STAGING)
        assert next(news) == "wine"
    notifications.close()
    tags = [(key, new) for _, kind, _, key, _, new in events(engine) if kind == "tag"]
    assert {("team", "red"), ("team", None), ("mlflow_ext.gates", "passed")} < set(tags)
