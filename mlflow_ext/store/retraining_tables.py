"""The tables of what triggers led to, and of what holds retraining. They share `metadata` with `tables.py`."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)

from mlflow_ext.store.tables import DEFAULT_WORKSPACE, metadata, retraining

retraining_decision = Table(
    "retraining_decision",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("workspace", Text, nullable=False, server_default=DEFAULT_WORKSPACE),
    Column("model", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("retraining_id", BigInteger, ForeignKey(retraining.c.id, ondelete="SET NULL")),
    # empty when a retraining was opened
    Column("brake", Text, nullable=False, server_default=""),
    Column("refusal", Text, nullable=False, server_default=""),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    UniqueConstraint("workspace", "model", "trigger", "key", "brake", name="one_decision_per_occasion"),
)

retraining_hold = Table(
    "retraining_hold",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("workspace", Text, nullable=False, server_default=DEFAULT_WORKSPACE),
    Column("model", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("lifted_at", DateTime(timezone=True)),
    Column("lifted_by", Text),
    Index("one_hold", "workspace", "model", unique=True, postgresql_where=text("lifted_at IS NULL")),
)
