"""Our tables, in the schema `mlflow_ext` of MLflow's database. How they come to be: `schema.py` and `migrations/`."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.sql.type_api import TypeEngine
from sqlalchemy.types import UserDefinedType

from mlflow_ext.domain.actors import ACTOR_SETTING, SOURCE_SETTING, Source

SCHEMA = "mlflow_ext"
DEFAULT_WORKSPACE = "default"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    },
)


class Xid8(UserDefinedType[str]):
    """PostgreSQL's 64-bit transaction id, which orders what commit order does not."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Name the type in DDL."""
        return "xid8"


# SQLAlchemy does not know the type yet, and would warn whenever it reads our schema back
ischema_names["xid8"] = Xid8


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(), primary_key=True)


def _workspace() -> Column[str]:
    return Column("workspace", Text, nullable=False, server_default=DEFAULT_WORKSPACE)


def _at(name: str, *, now: bool = False, nullable: bool = True) -> Column[object]:
    if now:
        return Column(name, DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp())
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _lease() -> list[Column[object]]:
    """Columns that `lease.py` works on: who holds the row, until when, and the fence."""
    return [
        Column("attempt", Integer, nullable=False, server_default="0"),
        Column("lease_owner", Text),
        _at("lease_until"),
    ]


def _json(name: str) -> Column[object]:
    kind: TypeEngine[object] = JSONB(none_as_null=True)
    return Column(name, kind)


_ACTOR = f"coalesce(nullif(current_setting('{ACTOR_SETTING}', true), ''), 'sql:' || session_user)"
_SOURCE = f"coalesce(nullif(current_setting('{SOURCE_SETTING}', true), ''), '{Source.SQL}')"

registry_event = Table(
    "registry_event",
    metadata,
    _id(),
    _at("at", now=True),
    Column("xact", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    _workspace(),
    Column("model", Text, nullable=False),
    Column("version", Integer),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False, server_default=""),
    Column("old", Text),
    Column("new", Text),
    # written by the agreement of marks: no person's word
    Column("ours", Boolean, nullable=False, server_default=text("false")),
    # for an entry in the trail that has to be made later: what the transaction says of who makes the change
    Column("actor", Text, server_default=text(_ACTOR)),
    Column("source", Text, server_default=text(_SOURCE)),
    Index(None, "model", "id"),
    Index(None, "xact", "id"),
)

consumer_cursor = Table(
    "consumer_cursor",
    metadata,
    Column("consumer", Text, primary_key=True),
    Column("xact", Xid8, nullable=False, server_default=text("'0'::xid8")),
    Column("event_id", BigInteger, nullable=False, server_default="0"),
    _at("updated_at", now=True),
)

promotion = Table(
    "promotion",
    metadata,
    _id(),
    _workspace(),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("requested_by", Text, nullable=False, server_default=""),
    Column("dry_run", Boolean, nullable=False, server_default=text("false")),
    Column("cause", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    _json("report"),
    Column("champion_version", Integer),
    Column("policy_hash", Text),
    Column("run_id", Text),
    _at("registry_at"),
    Column("override_reason", Text, nullable=False, server_default=""),
    # the newest change of the version's stage when it was asked for: order by time would hang on nobody moving a clock
    Column("seen_event", BigInteger),
    # the model was deleted: what was found of this version says nothing of another one with its number
    _at("version_gone_at"),
    *_lease(),
    _at("created_at", now=True),
    _at("updated_at", now=True),
    # one delivery of a request has one effect: a registry event, an idempotency key
    UniqueConstraint("workspace", "model", "version", "cause", name="one_promotion_per_cause"),
    Index(
        "one_open_promotion",
        "workspace",
        "model",
        "version",
        unique=True,
        postgresql_where=text("state IN ('requested', 'evaluating', 'awaiting_approval', 'rolling_out')"),
    ),
)

promotion_step = Table(
    "promotion_step",
    metadata,
    _id(),
    Column("promotion_id", BigInteger, ForeignKey(promotion.c.id, ondelete="CASCADE"), nullable=False, index=True),
    _at("at", now=True),
    Column("event", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("note", Text, nullable=False, server_default=""),
)

applied_policy = Table(
    "applied_policy",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("model", Text, nullable=False),
    _json("document"),
    _at("first_applied_at", now=True),
)

serving_pointer = Table(
    "serving_pointer",
    metadata,
    Column("workspace", Text, primary_key=True, server_default=DEFAULT_WORKSPACE),
    Column("model", Text, primary_key=True),
    Column("version", Integer),
    Column("generation", BigInteger, nullable=False),
    Column("previous_version", Integer),
    Column("reason", Text, nullable=False, server_default=""),
    _at("moved_at", now=True),
)

replica = Table(
    "replica",
    metadata,
    Column("id", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("url", Text),
    _json("state"),
    _at("started_at", now=True),
    _at("heartbeat_at", now=True),
)

segment = Table(
    "segment",
    metadata,
    _id(),
    _workspace(),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    _at("hour", nullable=False),
    Column("uri", Text, nullable=False, unique=True),
    Column("rows", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    _at("first_at", nullable=False),
    _at("last_at", nullable=False),
    _at("created_at", now=True),
    # says which requests it may hold; see request_filter.py
    Column("request_filter", LargeBinary),
    # merged into a bigger one, or too old; the file goes a little later, so that whoever reads it can finish
    _at("replaced_at"),
    Index(None, "model", "last_at"),
)

spool_offset = Table(
    "spool_offset",
    metadata,
    Column("spool", Text, primary_key=True),
    Column("offset_bytes", BigInteger, nullable=False),
    _at("updated_at", now=True),
)

feedback = Table(
    "feedback",
    metadata,
    Column("workspace", Text, primary_key=True, server_default=DEFAULT_WORKSPACE),
    Column("model", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("row", Integer, primary_key=True, server_default="0"),
    _json("value"),
    _at("received_at", now=True),
    Index(None, "model", "received_at"),
)

schedule = Table(
    "schedule",
    metadata,
    Column("name", Text, primary_key=True),
    _workspace(),
    Column("model", Text, nullable=False),
    Column("cron", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("window_s", Float, nullable=False),
    _at("next_run", nullable=False),
    # what happens with slots that nobody was there for: `coalesce` or `all`
    Column("catch_up", Text, nullable=False, server_default="coalesce"),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    Column("paused_by", Text, nullable=False, server_default=""),
    _at("paused_at"),
    _at("updated_at", now=True),
)

drift_check = Table(
    "drift_check",
    metadata,
    _id(),
    _workspace(),
    Column("model", Text, nullable=False),
    Column("version", Integer),
    Column("schedule", Text, nullable=False),
    _at("slot", nullable=False),
    _at("since", nullable=False),
    _at("until", nullable=False),
    Column("state", Text, nullable=False, server_default="due"),
    *_lease(),
    Column("verdict", Text),
    _json("report"),
    # the rendered-on-demand report (gzip), kept until MLflow has it
    Column("snapshot", LargeBinary),
    Column("run_id", Text),
    Column("error", Text),
    _at("created_at", now=True),
    _at("finished_at"),
    # performance is measured anew as labels come: how often, when last, and when labels were last looked for
    Column("evaluation", Integer, nullable=False, server_default="0"),
    _at("evaluated_at"),
    _at("labels_looked_at"),
    # what it is about; skew may look at the rows of another version
    Column("kind", Text, nullable=False, server_default="data"),
    Column("rows_version", Integer),
    UniqueConstraint("schedule", "slot", name="one_check_per_slot"),
    # automatic checks of skew: once a version, whatever the time
    Index("one_skew_check", "schedule", unique=True, postgresql_where=text("schedule LIKE 'skew:%'")),
    Index(None, "model", "until"),
)

# an alert is one episode: it fires, is seen again and again, and is resolved; how it is told: alert_tables.py
alert = Table(
    "alert",
    metadata,
    _id(),
    _workspace(),
    Column("model", Text, nullable=False),
    Column("version", Integer),
    Column("kind", Text, nullable=False, server_default="drift"),
    Column("state", Text, nullable=False, server_default="firing"),
    # the newest check that saw it
    Column("check_id", BigInteger, ForeignKey(drift_check.c.id, ondelete="SET NULL")),
    Column("severity", Text, nullable=False),
    Column("message", Text, nullable=False),
    _json("details"),
    Column("picture", LargeBinary),
    Column("seen", Integer, nullable=False, server_default="1"),
    # the state that people were told of last, when, and how often they were told
    Column("notified", Text),
    _at("notified_at"),
    Column("notices", Integer, nullable=False, server_default="0"),
    _at("created_at", now=True),
    _at("last_seen_at", now=True),
    _at("resolved_at"),
    UniqueConstraint("check_id", "kind", name="one_alert_of_a_kind_per_check"),
    Index("one_firing_alert", "workspace", "model", "kind", unique=True, postgresql_where=text("state = 'firing'")),
)

retraining = Table(
    "retraining",
    metadata,
    _id(),
    _workspace(),
    Column("model", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="due"),
    Column("trigger", Text, nullable=False, server_default="drift"),
    Column("cause", Text, nullable=False),
    _at("since"),
    _at("until"),
    *_lease(),
    Column("run_id", Text),
    Column("version", Integer),
    Column("error", Text),
    _at("created_at", now=True),
    _at("finished_at"),
    Index(
        "one_open_retraining",
        "workspace",
        "model",
        unique=True,
        postgresql_where=text("state IN ('due', 'running')"),
    ),
)
