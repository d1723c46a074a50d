"""The audit trail and the guard."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("workspace", sa.Text(), server_default="default", nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("policy_hash", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.Column("promotion_id", sa.BigInteger(), nullable=True),
        sa.Column("event_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "details",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sa.UniqueConstraint("workspace", "model", "seq", name=op.f("uq_audit_workspace_model_seq")),
        schema="mlflow_ext",
    )
    op.create_table(
        "audit_head",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "model", name=op.f("pk_audit_head")),
        schema="mlflow_ext",
    )
    op.add_column(
        "promotion", sa.Column("override_reason", sa.Text(), server_default="", nullable=False), schema="mlflow_ext"
    )
    op.add_column(
        "promotion", sa.Column("version_gone_at", sa.DateTime(timezone=True), nullable=True), schema="mlflow_ext"
    )
    op.create_table(
        "guard",
        sa.Column("workspace", sa.Text(), server_default="default", nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "model", name=op.f("pk_guard")),
        schema="mlflow_ext",
    )


def downgrade() -> None:
    # what `db upgrade` installed upon these tables: registry changes go on without it
    op.execute("DROP TRIGGER IF EXISTS audit_event ON mlflow_ext.registry_event")
    op.execute("DROP FUNCTION IF EXISTS mlflow_ext.audit_hash")
    op.execute("DROP FUNCTION IF EXISTS mlflow_ext.guard_production CASCADE")
    op.execute("DROP FUNCTION IF EXISTS mlflow_ext.promotion_follows_version CASCADE")
    op.drop_table("guard", schema="mlflow_ext")
    op.drop_column("promotion", "version_gone_at", schema="mlflow_ext")
    op.drop_column("promotion", "override_reason", schema="mlflow_ext")
    op.drop_table("audit_head", schema="mlflow_ext")
    op.drop_table("audit", schema="mlflow_ext")
