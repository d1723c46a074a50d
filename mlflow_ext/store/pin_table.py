"""The table of pins. It shares `metadata` with `tables.py`; what a pin is: `domain/pins.py`."""

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Integer, Table, Text, func
from sqlalchemy.dialects.postgresql import JSONB

from mlflow_ext.store.tables import DEFAULT_WORKSPACE, metadata, promotion

pin = Table(
    "pin",
    metadata,
    Column("workspace", Text, primary_key=True, server_default=DEFAULT_WORKSPACE),
    Column("model", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),
    Column("manifest", JSONB, nullable=False),
    Column("promotion_id", BigInteger, ForeignKey(promotion.c.id, ondelete="SET NULL")),
    Column("pinned_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
