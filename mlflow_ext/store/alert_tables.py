"""The table of messages about alerts, one row a channel. It shares `metadata` with `tables.py`."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)

from mlflow_ext.store.tables import alert, metadata

alert_delivery = Table(
    "alert_delivery",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("alert_id", BigInteger, ForeignKey(alert.c.id, ondelete="CASCADE"), nullable=False),
    # what is told: that it fires, or that it is resolved
    Column("state", Text, nullable=False),
    Column("notice", Integer, nullable=False),
    Column("channel", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    # rows that went out together once go out together again
    Column("batch", BigInteger),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_attempt_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("last_error", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("delivered_at", DateTime(timezone=True)),
    UniqueConstraint("alert_id", "notice", "channel", name="one_delivery_per_notice"),
    Index("open_deliveries", "next_attempt_at", postgresql_where=text("delivered_at IS NULL")),
)
