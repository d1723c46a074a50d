"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from mlflow_ext.store.tables import Xid8

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('applied_policy',
        sa.Column('hash', sa.Text(), nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('document', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column('first_applied_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.PrimaryKeyConstraint('hash', name=op.f('pk_applied_policy')),
        schema='mlflow_ext'
    )
    op.create_table('consumer_cursor',
        sa.Column('consumer', sa.Text(), nullable=False),
        sa.Column('xact', Xid8(), server_default=sa.text("'0'::xid8"), nullable=False),
        sa.Column('event_id', sa.BigInteger(), server_default='0', nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.PrimaryKeyConstraint('consumer', name=op.f('pk_consumer_cursor')),
        schema='mlflow_ext'
    )
    op.create_table('drift_check',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('workspace', sa.Text(), server_default='default', nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('version', sa.Integer(), nullable=True),
        sa.Column('schedule', sa.Text(), nullable=False),
        sa.Column('slot', sa.DateTime(timezone=True), nullable=False),
        sa.Column('since', sa.DateTime(timezone=True), nullable=False),
        sa.Column('until', sa.DateTime(timezone=True), nullable=False),
        sa.Column('state', sa.Text(), server_default='due', nullable=False),
        sa.Column('attempt', sa.Integer(), server_default='0', nullable=False),
        sa.Column('lease_owner', sa.Text(), nullable=True),
        sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
        sa.Column('verdict', sa.Text(), nullable=True),
        sa.Column('report', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column('snapshot', sa.LargeBinary(), nullable=True),
        sa.Column('run_id', sa.Text(), nullable=True),
        sa.Column('error', sa.Text(), nullable=True),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_drift_check')),
        sa.UniqueConstraint('schedule', 'slot', name='one_check_per_slot'),
        schema='mlflow_ext'
    )
    op.create_index(op.f('ix_drift_check_model_until'), 'drift_check', ['model', 'until'], unique=False, schema='mlflow_ext')
    op.create_table('feedback',
        sa.Column('workspace', sa.Text(), server_default='default', nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('request_id', sa.Text(), nullable=False),
        sa.Column('row', sa.Integer(), server_default='0', nullable=False),
        sa.Column('value', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column('received_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.PrimaryKeyConstraint('workspace', 'model', 'request_id', 'row', name=op.f('pk_feedback')),
        schema='mlflow_ext'
    )
    op.create_table('promotion',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('workspace', sa.Text(), server_default='default', nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('version', sa.Integer(), nullable=False),
        sa.Column('state', sa.Text(), nullable=False),
        sa.Column('source', sa.Text(), nullable=False),
        sa.Column('requested_by', sa.Text(), server_default='', nullable=False),
        sa.Column('dry_run', sa.Boolean(), server_default=sa.text('false'), nullable=False),
        sa.Column('cause', sa.Text(), nullable=False),
        sa.Column('reason', sa.Text(), server_default='', nullable=False),
        sa.Column('report', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column('champion_version', sa.Integer(), nullable=True),
        sa.Column('policy_hash', sa.Text(), nullable=True),
        sa.Column('run_id', sa.Text(), nullable=True),
        sa.Column('registry_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('attempt', sa.Integer(), server_default='0', nullable=False),
        sa.Column('lease_owner', sa.Text(), nullable=True),
        sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_promotion')),
        sa.UniqueConstraint('workspace', 'model', 'version', 'cause', name='one_promotion_per_cause'),
        schema='mlflow_ext'
    )
    op.create_index('one_open_promotion', 'promotion', ['workspace', 'model', 'version'], unique=True, schema='mlflow_ext', postgresql_where=sa.text("state IN ('requested', 'evaluating', 'awaiting_approval', 'rolling_out')"))
    op.create_table('registry_event',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.Column('xact', Xid8(), server_default=sa.text('pg_current_xact_id()'), nullable=False),
        sa.Column('workspace', sa.Text(), server_default='default', nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('version', sa.Integer(), nullable=True),
        sa.Column('kind', sa.Text(), nullable=False),
        sa.Column('key', sa.Text(), server_default='', nullable=False),
        sa.Column('old', sa.Text(), nullable=True),
        sa.Column('new', sa.Text(), nullable=True),
        sa.Column('ours', sa.Boolean(), server_default=sa.text('false'), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_registry_event')),
        schema='mlflow_ext'
    )
    op.create_index(op.f('ix_registry_event_model_id'), 'registry_event', ['model', 'id'], unique=False, schema='mlflow_ext')
    op.create_index(op.f('ix_registry_event_xact_id'), 'registry_event', ['xact', 'id'], unique=False, schema='mlflow_ext')
    op.create_table('replica',
        sa.Column('id', sa.Text(), nullable=False),
        sa.Column('role', sa.Text(), nullable=False),
        sa.Column('host', sa.Text(), nullable=False),
        sa.Column('pid', sa.Integer(), nullable=False),
        sa.Column('url', sa.Text(), nullable=True),
        sa.Column('state', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column('started_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.Column('heartbeat_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_replica')),
        schema='mlflow_ext'
    )
    op.create_table('schedule',
        sa.Column('name', sa.Text(), nullable=False),
        sa.Column('workspace', sa.Text(), server_default='default', nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('cron', sa.Text(), nullable=False),
        sa.Column('timezone', sa.Text(), nullable=False),
        sa.Column('window_s', sa.Float(), nullable=False),
        sa.Column('next_run', sa.DateTime(timezone=True), nullable=False),
        sa.Column('paused', sa.Boolean(), server_default=sa.text('false'), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_schedule')),
        schema='mlflow_ext'
    )
    op.create_table('segment',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('workspace', sa.Text(), server_default='default', nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('version', sa.Integer(), nullable=False),
        sa.Column('hour', sa.DateTime(timezone=True), nullable=False),
        sa.Column('uri', sa.Text(), nullable=False),
        sa.Column('rows', sa.BigInteger(), nullable=False),
        sa.Column('size_bytes', sa.BigInteger(), nullable=False),
        sa.Column('first_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('last_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.Column('replaced_at', sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_segment')),
        sa.UniqueConstraint('uri', name=op.f('uq_segment_uri')),
        schema='mlflow_ext'
    )
    op.create_index(op.f('ix_segment_model_last_at'), 'segment', ['model', 'last_at'], unique=False, schema='mlflow_ext')
    op.create_table('serving_pointer',
        sa.Column('workspace', sa.Text(), server_default='default', nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('version', sa.Integer(), nullable=True),
        sa.Column('generation', sa.BigInteger(), nullable=False),
        sa.Column('previous_version', sa.Integer(), nullable=True),
        sa.Column('reason', sa.Text(), server_default='', nullable=False),
        sa.Column('moved_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.PrimaryKeyConstraint('workspace', 'model', name=op.f('pk_serving_pointer')),
        schema='mlflow_ext'
    )
    op.create_table('spool_offset',
        sa.Column('spool', sa.Text(), nullable=False),
        sa.Column('offset_bytes', sa.BigInteger(), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.PrimaryKeyConstraint('spool', name=op.f('pk_spool_offset')),
        schema='mlflow_ext'
    )
    op.create_table('alert',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('workspace', sa.Text(), server_default='default', nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('version', sa.Integer(), nullable=True),
        sa.Column('check_id', sa.BigInteger(), nullable=True),
        sa.Column('severity', sa.Text(), nullable=False),
        sa.Column('message', sa.Text(), nullable=False),
        sa.Column('details', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column('attempts', sa.Integer(), server_default='0', nullable=False),
        sa.Column('last_error', sa.Text(), nullable=True),
        sa.Column('next_attempt_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.Column('retraining', sa.Text(), nullable=True),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.Column('delivered_at', sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(['check_id'], ['mlflow_ext.drift_check.id'], name=op.f('fk_alert_check_id'), ondelete='SET NULL'),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_alert')),
        sa.UniqueConstraint('check_id', name=op.f('uq_alert_check_id')),
        schema='mlflow_ext'
    )
    op.create_table('promotion_step',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('promotion_id', sa.BigInteger(), nullable=False),
        sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.Column('event', sa.Text(), nullable=False),
        sa.Column('state', sa.Text(), nullable=False),
        sa.Column('note', sa.Text(), server_default='', nullable=False),
        sa.ForeignKeyConstraint(['promotion_id'], ['mlflow_ext.promotion.id'], name=op.f('fk_promotion_step_promotion_id'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_promotion_step')),
        schema='mlflow_ext'
    )
    op.create_index(op.f('ix_promotion_step_promotion_id'), 'promotion_step', ['promotion_id'], unique=False, schema='mlflow_ext')
    op.create_table('retraining',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('workspace', sa.Text(), server_default='default', nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('state', sa.Text(), server_default='due', nullable=False),
        sa.Column('cause', sa.Text(), nullable=False),
        sa.Column('alert_id', sa.BigInteger(), nullable=True),
        sa.Column('since', sa.DateTime(timezone=True), nullable=True),
        sa.Column('until', sa.DateTime(timezone=True), nullable=True),
        sa.Column('attempt', sa.Integer(), server_default='0', nullable=False),
        sa.Column('lease_owner', sa.Text(), nullable=True),
        sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
        sa.Column('run_id', sa.Text(), nullable=True),
        sa.Column('version', sa.Integer(), nullable=True),
        sa.Column('error', sa.Text(), nullable=True),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(['alert_id'], ['mlflow_ext.alert.id'], name=op.f('fk_retraining_alert_id'), ondelete='SET NULL'),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_retraining')),
        sa.UniqueConstraint('alert_id', name=op.f('uq_retraining_alert_id')),
        schema='mlflow_ext'
    )
    op.create_index('one_open_retraining', 'retraining', ['workspace', 'model'], unique=True, schema='mlflow_ext', postgresql_where=sa.text("state IN ('due', 'running')"))


def downgrade() -> None:
    op.drop_index('one_open_retraining', table_name='retraining', schema='mlflow_ext', postgresql_where=sa.text("state IN ('due', 'running')"))
    op.drop_table('retraining', schema='mlflow_ext')
    op.drop_index(op.f('ix_promotion_step_promotion_id'), table_name='promotion_step', schema='mlflow_ext')
    op.drop_table('promotion_step', schema='mlflow_ext')
    op.drop_table('alert', schema='mlflow_ext')
    op.drop_table('spool_offset', schema='mlflow_ext')
    op.drop_table('serving_pointer', schema='mlflow_ext')
    op.drop_index(op.f('ix_segment_model_last_at'), table_name='segment', schema='mlflow_ext')
    op.drop_table('segment', schema='mlflow_ext')
    op.drop_table('schedule', schema='mlflow_ext')
    op.drop_table('replica', schema='mlflow_ext')
    op.drop_index(op.f('ix_registry_event_xact_id'), table_name='registry_event', schema='mlflow_ext')
    op.drop_index(op.f('ix_registry_event_model_id'), table_name='registry_event', schema='mlflow_ext')
    op.drop_table('registry_event', schema='mlflow_ext')
    op.drop_index('one_open_promotion', table_name='promotion', schema='mlflow_ext', postgresql_where=sa.text("state IN ('requested', 'evaluating', 'awaiting_approval', 'rolling_out')"))
    op.drop_table('promotion', schema='mlflow_ext')
    op.drop_table('feedback', schema='mlflow_ext')
    op.drop_index(op.f('ix_drift_check_model_until'), table_name='drift_check', schema='mlflow_ext')
    op.drop_table('drift_check', schema='mlflow_ext')
    op.drop_table('consumer_cursor', schema='mlflow_ext')
    op.drop_table('applied_policy', schema='mlflow_ext')
