"""Checks of a second kind: skew between what a version was trained on and what it is asked, once a version."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "drift_check", sa.Column("kind", sa.Text(), server_default="data", nullable=False), schema="mlflow_ext"
    )
    op.add_column("drift_check", sa.Column("rows_version", sa.Integer()), schema="mlflow_ext")
    op.create_index(
        "one_skew_check",
        "drift_check",
        ["schedule"],
        unique=True,
        postgresql_where=sa.text("schedule LIKE 'skew:%'"),
        schema="mlflow_ext",
    )


def downgrade() -> None:
    # the revision before would take them for checks of the data
    op.execute("DELETE FROM mlflow_ext.alert WHERE kind = 'skew'")
    op.execute("DELETE FROM mlflow_ext.drift_check WHERE kind <> 'data'")
    op.drop_index("one_skew_check", "drift_check", schema="mlflow_ext")
    for name in ("rows_version", "kind"):
        op.drop_column("drift_check", name, schema="mlflow_ext")
