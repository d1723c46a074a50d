"""Who made a registry change is kept with it; a promotion knows which change of its version it has seen."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # first the columns, then their defaults: what was there before must not be said to be ours
    for column, setting, otherwise in (
        ("actor", "mlflow_ext.actor", "'sql:' || session_user"),
        ("source", "mlflow_ext.source", "'sql'"),
    ):
        op.add_column("registry_event", sa.Column(column, sa.Text(), nullable=True), schema="mlflow_ext")
        said = f"coalesce(nullif(current_setting('{setting}', true), ''), {otherwise})"
        op.execute(f"ALTER TABLE mlflow_ext.registry_event ALTER COLUMN {column} SET DEFAULT {said}")
    op.add_column("promotion", sa.Column("seen_event", sa.BigInteger(), nullable=True), schema="mlflow_ext")
    op.create_index("ix_audit_event_id", "audit", ["event_id"], schema="mlflow_ext")


def downgrade() -> None:
    op.drop_index("ix_audit_event_id", "audit", schema="mlflow_ext")
    op.drop_column("promotion", "seen_event", schema="mlflow_ext")
    op.drop_column("registry_event", "source", schema="mlflow_ext")
    op.drop_column("registry_event", "actor", schema="mlflow_ext")
