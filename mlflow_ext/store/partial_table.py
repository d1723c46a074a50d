"""The table of partial window statistics. It shares `metadata` with `tables.py`; what is in them: `drift/engine/`."""

from sqlalchemy import Column, DateTime, ForeignKey, LargeBinary, Table, Text, func

from mlflow_ext.store.tables import metadata, segment

drift_partial = Table(
    "drift_partial",
    metadata,
    Column("profile", Text, primary_key=True),
    # statistics go with their segment: when it is merged into another or its time is over
    Column("uri", Text, ForeignKey(segment.c.uri, ondelete="CASCADE"), primary_key=True, index=True),
    Column("statistics", LargeBinary, nullable=False),
    Column("made_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
