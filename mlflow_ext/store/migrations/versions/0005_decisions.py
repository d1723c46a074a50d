"""Approvals, answered requests, and whose a token is."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "approval",
        sa.Column("promotion_id", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), server_default="", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["promotion_id"], ["mlflow_ext.promotion.id"], name=op.f("fk_approval_promotion_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("promotion_id", "person", name=op.f("pk_approval")),
        schema="mlflow_ext",
    )
    op.create_table(
        "answered_request",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("plan", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("answer", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name=op.f("pk_answered_request")),
        schema="mlflow_ext",
    )
    op.create_index("ix_answered_request_at", "answered_request", ["at"], schema="mlflow_ext")
    op.add_column("token", sa.Column("owner", sa.Text(), server_default="", nullable=False), schema="mlflow_ext")


def downgrade() -> None:
    op.drop_column("token", "owner", schema="mlflow_ext")
    op.drop_table("answered_request", schema="mlflow_ext")
    op.drop_table("approval", schema="mlflow_ext")
