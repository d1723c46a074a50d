"""The table of earlier measurements of a check's performance. It shares `metadata` with `tables.py`."""

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Integer, Table
from sqlalchemy.dialects.postgresql import JSONB

from mlflow_ext.store.tables import drift_check, metadata

drift_evaluation = Table(
    "drift_evaluation",
    metadata,
    Column("check_id", BigInteger, ForeignKey(drift_check.c.id, ondelete="CASCADE"), primary_key=True),
    Column("evaluation", Integer, primary_key=True, autoincrement=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("performance", JSONB, nullable=False),
)
