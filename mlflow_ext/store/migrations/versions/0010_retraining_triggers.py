"""What asked for retrainings, what came of it, and what holds them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "retraining_decision",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("workspace", sa.Text(), server_default="default", nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("retraining_id", sa.BigInteger(), nullable=True),
        sa.Column("brake", sa.Text(), server_default="", nullable=False),
        sa.Column("refusal", sa.Text(), server_default="", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["retraining_id"],
            ["mlflow_ext.retraining.id"],
            name=op.f("fk_retraining_decision_retraining_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retraining_decision")),
        sa.UniqueConstraint("workspace", "model", "trigger", "key", "brake", name="one_decision_per_occasion"),
        schema="mlflow_ext",
    )
    op.create_table(
        "retraining_hold",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("workspace", sa.Text(), server_default="default", nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lifted_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retraining_hold")),
        schema="mlflow_ext",
    )
    op.create_index(
        "one_hold",
        "retraining_hold",
        ["workspace", "model"],
        unique=True,
        schema="mlflow_ext",
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
    op.add_column(
        "retraining", sa.Column("trigger", sa.Text(), server_default="drift", nullable=False), schema="mlflow_ext"
    )
    op.drop_column("retraining", "alert_id", schema="mlflow_ext")
    op.drop_column("alert", "retraining", schema="mlflow_ext")


def downgrade() -> None:
    op.add_column("alert", sa.Column("retraining", sa.Text(), nullable=True), schema="mlflow_ext")
    op.add_column("retraining", sa.Column("alert_id", sa.BigInteger(), nullable=True), schema="mlflow_ext")
    op.create_foreign_key(
        op.f("fk_retraining_alert_id"),
        *("retraining", "alert", ["alert_id"], ["id"]),
        source_schema="mlflow_ext",
        referent_schema="mlflow_ext",
        ondelete="SET NULL",
    )
    op.create_unique_constraint(op.f("uq_retraining_alert_id"), "retraining", ["alert_id"], schema="mlflow_ext")
    op.drop_column("retraining", "trigger", schema="mlflow_ext")
    op.drop_table("retraining_hold", schema="mlflow_ext")
    op.drop_table("retraining_decision", schema="mlflow_ext")
