"""Which segments may hold a request, so that one is found by its id."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("segment", sa.Column("request_filter", sa.LargeBinary()), schema="mlflow_ext")
    # looked at bit by bit: compressed it would have to be unpacked for each look
    op.execute("ALTER TABLE mlflow_ext.segment ALTER COLUMN request_filter SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_column("segment", "request_filter", schema="mlflow_ext")
