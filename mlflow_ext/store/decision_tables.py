"""The tables of approvals and of requests that were answered. They share `metadata` with `tables.py`."""

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Table, Text, func
from sqlalchemy.dialects.postgresql import JSONB

from mlflow_ext.store.tables import metadata, promotion

approval = Table(
    "approval",
    metadata,
    Column("promotion_id", BigInteger, ForeignKey(promotion.c.id, ondelete="CASCADE"), primary_key=True),
    Column("person", Text, primary_key=True),
    Column("actor", Text, nullable=False),
    Column("comment", Text, nullable=False, server_default=""),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)

answered_request = Table(
    "answered_request",
    metadata,
    Column("caller", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    # what the request was about to do, so that a second try after a crash does not do it twice
    Column("plan", JSONB, nullable=False),
    Column("answer", JSONB),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp(), index=True),
)
