"""What was pinned when the gates passed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pin",
        sa.Column("workspace", sa.Text(), server_default="default", nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("manifest", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("promotion_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "pinned_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["promotion_id"], ["mlflow_ext.promotion.id"], name=op.f("fk_pin_promotion_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("workspace", "model", "version", name=op.f("pk_pin")),
        schema="mlflow_ext",
    )


def downgrade() -> None:
    op.drop_table("pin", schema="mlflow_ext")
