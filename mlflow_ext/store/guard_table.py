"""The guard modes that the policies name. They share `metadata` with `tables.py`; their use: `guard_functions.py`."""

from sqlalchemy import Column, DateTime, Table, Text, func

from mlflow_ext.store.tables import DEFAULT_WORKSPACE, metadata

guard = Table(
    "guard",
    metadata,
    Column("workspace", Text, primary_key=True, server_default=DEFAULT_WORKSPACE),
    # the empty name stands for every model without a policy of its own
    Column("model", Text, primary_key=True),
    Column("mode", Text, nullable=False),
    Column("set_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
