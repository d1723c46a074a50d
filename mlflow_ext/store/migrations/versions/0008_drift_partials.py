"""Partial window statistics of drift checks."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drift_partial",
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("statistics", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["uri"], ["mlflow_ext.segment.uri"], name=op.f("fk_drift_partial_uri"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("profile", "uri", name=op.f("pk_drift_partial")),
        schema="mlflow_ext",
    )
    # a merged segment takes its statistics with it
    op.create_index(op.f("ix_drift_partial_uri"), "drift_partial", ["uri"], schema="mlflow_ext")


def downgrade() -> None:
    op.drop_table("drift_partial", schema="mlflow_ext")
