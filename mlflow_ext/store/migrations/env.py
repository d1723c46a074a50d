"""Alembic's entry: runs on the connection that `schema.py` hands over, and leaves logging alone."""

from alembic import context
from sqlalchemy import text

from mlflow_ext.store import (
    audit_tables,
    decision_tables,
    guard_table,
    partial_table,
    pin_table,
    retraining_tables,
)
from mlflow_ext.store.tables import SCHEMA, metadata

__all__ = [
    "audit_tables",
    "decision_tables",
    "guard_table",
    "partial_table",
    "pin_table",
    "retraining_tables",
]  # imported so that the metadata knows it

connection = context.config.attributes["connection"]
# a migration that waits for a lock makes everybody else wait behind it: give up instead
connection.execute(text("SET lock_timeout = '5s'"))
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
    include_name=lambda name, type_, _: name == SCHEMA if type_ == "schema" else True,
)
with context.begin_transaction():
    context.run_migrations()
