"""Bringing a database up to date: MLflow's tables where there are none, ours by Alembic, then the triggers."""

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from mlflow_ext.store import alert_tables, evaluation_table, token_table  # noqa: F401  (their tables belong to `metadata`)
from mlflow_ext.store.audit import open_trail
from mlflow_ext.store.audit_functions import install_audit
from mlflow_ext.store.engine import translated
from mlflow_ext.store.guard_functions import install_guard
from mlflow_ext.store.pins import install_pin_trigger
from mlflow_ext.store.tables import SCHEMA, metadata
from mlflow_ext.store.triggers import install_triggers

_LOCK = 0x6D6C_6578  # "mlex": two upgrades at once wait for each other


def upgrade(engine: Engine) -> None:
    """Migrate our tables to the newest revision and (re)install the triggers where MLflow's tables exist.

    Raises:
        UnavailableError: The database does not answer, or a table stayed locked for 5 s.
    """
    with translated(), engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        command.upgrade(_config(connection), "head")
        install_audit(connection)
        install_triggers(connection)
        install_guard(connection)
        install_pin_trigger(connection)
        open_trail(connection)


def current(engine: Engine) -> str | None:
    """Give the revision the database is at; `None` for a database without our tables."""
    with translated(), engine.connect() as connection:
        return _context(connection).get_current_revision()


def head() -> str | None:
    """Give the newest revision this code knows."""
    return ScriptDirectory.from_config(_config(None)).get_current_head()


def differences(engine: Engine) -> list[str]:
    """List how the database differs from what this code expects; empty when all is well."""
    with translated(), engine.connect() as connection:
        found = _context(connection).get_current_revision()
        if found != head():
            return [f"revision is {found}, this code needs {head()}; run `mlflow-ext db upgrade`"]
        return [str(difference) for difference in compare_metadata(_context(connection), metadata)]


def has_mlflow_tables(engine: Engine) -> bool:
    """Tell whether MLflow's registry tables are there."""
    with translated(), engine.connect() as connection:
        return inspect(connection).has_table("model_versions")


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(
        connection,
        opts={
            "version_table_schema": SCHEMA,
            "include_schemas": True,
            "include_name": lambda name, kind, _: name == SCHEMA if kind == "schema" else True,
            "target_metadata": metadata,
        },
    )
