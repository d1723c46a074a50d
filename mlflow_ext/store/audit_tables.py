"""The audit trail's tables. They share `metadata` with `tables.py`; what guards them: `audit_functions.py`."""

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, Integer, Table, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB

from mlflow_ext.store.tables import DEFAULT_WORKSPACE, metadata

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("workspace", Text, nullable=False, server_default=DEFAULT_WORKSPACE),
    Column("model", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("action", Text, nullable=False),
    Column("version", Integer),
    Column("actor", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("policy_hash", Text),
    Column("evidence", Text),
    Column("promotion_id", BigInteger),
    Column("event_id", BigInteger),
    Column("details", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
    UniqueConstraint("workspace", "model", "seq"),
    # has this registry change an entry?
    Index(None, "event_id"),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("workspace", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("length", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
)
