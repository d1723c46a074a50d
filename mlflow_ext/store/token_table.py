"""The table of tokens. It shares `metadata` with `tables.py`; what a token is: `domain/tokens.py`."""

from sqlalchemy import Column, DateTime, LargeBinary, Table, Text, func
from sqlalchemy.dialects.postgresql import ARRAY

from mlflow_ext.store.tables import metadata

token = Table(
    "token",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sha256", LargeBinary, nullable=False),
    Column("rights", ARRAY(Text), nullable=False),
    Column("models", ARRAY(Text)),
    Column("note", Text, nullable=False, server_default=""),
    Column("owner", Text, nullable=False, server_default=""),
    Column("created_by", Text, nullable=False, server_default=""),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("revoked_by", Text, nullable=False, server_default=""),
)
