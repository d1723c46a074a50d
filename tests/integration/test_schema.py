"""Migrations: what they build is what the code expects."""

from alembic import command
from mlflow import MlflowClient
from sqlalchemy import Engine, text

from mlflow_ext.store import schema
from mlflow_ext.store.audit import SqlAudit
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.triggers import triggers_installed


def test_migrations_build_exactly_the_tables_of_the_code(engine: Engine) -> None:
    """After `db upgrade` nothing differs from the metadata, and every trigger is there."""
    assert schema.current(engine) == schema.head()
    assert schema.differences(engine) == []
    with engine.connect() as connection:
        assert triggers_installed(connection)


def test_upgrading_twice_changes_nothing(engine: Engine) -> None:
    """`db upgrade` may be run at every start."""
    schema.upgrade(engine)
    assert schema.differences(engine) == []


def test_without_mlflows_tables_ours_are_created_and_triggers_wait(empty_database_url: str) -> None:
    """Our schema does not need MLflow's tables; the triggers are installed once they exist."""
    engine = make_engine(empty_database_url)
    assert schema.differences(engine) != []
    schema.upgrade(engine)
    assert schema.differences(engine) == []
    with engine.connect() as connection:
        assert not triggers_installed(connection)
    engine.dispose()


def test_a_registry_change_leaves_one_event(engine: Engine) -> None:
    """A plain SQL change of a stage is recorded once, with old and new value."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO registered_models (name, workspace) VALUES ('m', 'default')"))
        connection.execute(
            text(
                "INSERT INTO model_versions (name, version, workspace, current_stage) "
                "VALUES ('m', 1, 'default', 'None')"
            )
        )
    with engine.begin() as connection:
        connection.execute(text("UPDATE model_versions SET current_stage = 'Staging' WHERE name = 'm'"))
        connection.execute(text("UPDATE model_versions SET description = 'x' WHERE name = 'm'"))
    with engine.connect() as connection:
        events = connection.execute(
            text("SELECT kind, version, old, new FROM mlflow_ext.registry_event ORDER BY id")
        ).all()
    assert [tuple(event) for event in events] == [("version", 1, None, "None"), ("stage", 1, "None", "Staging")]


def test_the_first_tables_alone_leave_mlflow_working(engine: Engine) -> None:
    """Taken back to the first revision, registry changes go on and are recorded; upgraded again, the trail is whole."""
    with engine.begin() as connection:
        command.downgrade(schema._config(connection), "0001")
    url = engine.url.render_as_string(hide_password=False)
    client = MlflowClient(url, url)
    client.create_registered_model("wine")
    client.create_model_version("wine", "s3://bucket/model", tags={"stage": "Production"})
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM mlflow_ext.registry_event")).scalar_one() == 2
    schema.upgrade(engine)
    assert schema.differences(engine) == []
    assert SqlAudit(engine).verify() == []
