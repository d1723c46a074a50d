"""Checks are measured anew as labels come, with what was measured before kept; one check may raise two kinds of alert."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0007"
branch_labels = None
depends_on = None

_SCHEMA = "mlflow_ext"


def upgrade() -> None:
    op.add_column(
        "drift_check", sa.Column("evaluation", sa.Integer(), server_default="0", nullable=False), schema=_SCHEMA
    )
    for name in ("evaluated_at", "labels_looked_at"):
        op.add_column("drift_check", sa.Column(name, sa.DateTime(timezone=True)), schema=_SCHEMA)
    op.create_table(
        "drift_evaluation",
        sa.Column("check_id", sa.BigInteger(), nullable=False),
        sa.Column("evaluation", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("performance", JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["check_id"], ["mlflow_ext.drift_check.id"], name="fk_drift_evaluation_check_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("check_id", "evaluation", name="pk_drift_evaluation"),
        schema=_SCHEMA,
    )
    op.create_index("ix_feedback_model_received_at", "feedback", ["model", "received_at"], schema=_SCHEMA)
    op.drop_constraint("uq_alert_check_id", "alert", schema=_SCHEMA)
    op.create_unique_constraint("one_alert_of_a_kind_per_check", "alert", ["check_id", "kind"], schema=_SCHEMA)


def downgrade() -> None:
    op.drop_constraint("one_alert_of_a_kind_per_check", "alert", schema=_SCHEMA)
    # the revision before knows alerts about drift only
    op.execute("DELETE FROM mlflow_ext.alert WHERE kind <> 'drift'")
    op.create_unique_constraint("uq_alert_check_id", "alert", ["check_id"], schema=_SCHEMA)
    op.drop_index("ix_feedback_model_received_at", "feedback", schema=_SCHEMA)
    op.drop_table("drift_evaluation", schema=_SCHEMA)
    op.execute("UPDATE mlflow_ext.drift_check SET state = 'done' WHERE state IN ('labelled', 'measuring')")
    for name in ("labels_looked_at", "evaluated_at", "evaluation"):
        op.drop_column("drift_check", name, schema=_SCHEMA)
