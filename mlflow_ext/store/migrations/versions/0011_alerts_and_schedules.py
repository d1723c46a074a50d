"""Alerts with states, told to each channel; schedules that catch up, and are paused in somebody's name."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0008"
branch_labels = None
depends_on = None

_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    schedule: list[sa.Column[Any]] = [
        sa.Column("catch_up", sa.Text(), server_default="coalesce", nullable=False),
        sa.Column("paused_by", sa.Text(), server_default="", nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True)),
    ]
    alert: list[sa.Column[Any]] = [
        sa.Column("kind", sa.Text(), server_default="drift", nullable=False),
        sa.Column("state", sa.Text(), server_default="firing", nullable=False),
        sa.Column("seen", sa.Integer(), server_default="1", nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True)),
        sa.Column("picture", sa.LargeBinary()),
        sa.Column("notified", sa.Text()),
        sa.Column("notified_at", sa.DateTime(timezone=True)),
        sa.Column("notices", sa.Integer(), server_default="0", nullable=False),
    ]
    for column in schedule:
        op.add_column("schedule", column, schema="mlflow_ext")
    for column in alert:
        op.add_column("alert", column, schema="mlflow_ext")
    # what was sent is over; of what was not, the newest of each model is sent now
    op.execute(
        """
        UPDATE mlflow_ext.alert SET last_seen_at = created_at, state = 'resolved', resolved_at = created_at,
                                    notified = 'resolved', notified_at = coalesce(delivered_at, created_at)
        WHERE delivered_at IS NOT NULL OR id NOT IN (
            SELECT max(id) FROM mlflow_ext.alert WHERE delivered_at IS NULL GROUP BY workspace, model)
        """
    )
    for name in ("attempts", "last_error", "next_attempt_at", "delivered_at"):
        op.drop_column("alert", name, schema="mlflow_ext")
    op.create_index(
        "one_firing_alert",
        "alert",
        ["workspace", "model", "kind"],
        unique=True,
        postgresql_where=sa.text("state = 'firing'"),
        schema="mlflow_ext",
    )

    op.create_table(
        "alert_delivery",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("alert_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("notice", sa.Integer(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger()),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["mlflow_ext.alert.id"], name=op.f("fk_alert_delivery_alert_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_delivery")),
        sa.UniqueConstraint("alert_id", "notice", "channel", name="one_delivery_per_notice"),
        schema="mlflow_ext",
    )
    op.create_index(
        "open_deliveries",
        "alert_delivery",
        ["next_attempt_at"],
        postgresql_where=sa.text("delivered_at IS NULL"),
        schema="mlflow_ext",
    )


def downgrade() -> None:
    op.drop_table("alert_delivery", schema="mlflow_ext")
    op.drop_index("one_firing_alert", "alert", schema="mlflow_ext")
    former: list[sa.Column[Any]] = [
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True)),
    ]
    for column in former:
        op.add_column("alert", column, schema="mlflow_ext")
    op.execute("UPDATE mlflow_ext.alert SET delivered_at = notified_at")
    new = ("notices", "notified_at", "notified", "picture", "resolved_at", "last_seen_at", "seen", "state", "kind")
    for name in new:
        op.drop_column("alert", name, schema="mlflow_ext")
    for name in ("paused_at", "paused_by", "catch_up"):
        op.drop_column("schedule", name, schema="mlflow_ext")
