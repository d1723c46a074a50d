"""The `EventLog` port on `registry_event`: what the registry triggers wrote, read in an order that loses nothing.

Ids are given when a row is written, transactions commit in any order: a reader that remembers the highest id misses
what commits late. So events are read in the order (transaction, id), and only those of transactions that are older than
every running one. What an event means for a model is decided in `lifecycle/reconcile.py`.
"""

from datetime import datetime

from sqlalchemy import Engine, RowMapping, and_, func, or_, select, text

from mlflow_ext.domain.events import RegistryEvent, RegistryEventKind
from mlflow_ext.domain.stages import STAGE_OF_ALIAS, STAGE_TAG
from mlflow_ext.store.engine import translated
from mlflow_ext.store.tables import DEFAULT_WORKSPACE, SCHEMA, registry_event

_LATEST = 200

_CURSOR = f"SELECT xact::text, event_id FROM {SCHEMA}.consumer_cursor WHERE consumer = :consumer"

_PAST_CURSOR = f"""
    SELECT * FROM {SCHEMA}.registry_event
    WHERE (xact, id) > (CAST(:xact AS xid8), CAST(:id AS bigint)) AND workspace = :workspace
      AND xact < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xact, id LIMIT :limit
"""

_ADVANCE = f"""
    INSERT INTO {SCHEMA}.consumer_cursor AS c (consumer, xact, event_id)
    SELECT :consumer, xact, id FROM {SCHEMA}.registry_event WHERE id = :id
    ON CONFLICT (consumer) DO UPDATE
    SET xact = excluded.xact, event_id = excluded.event_id, updated_at = clock_timestamp()
    WHERE (c.xact, c.event_id) < (excluded.xact, excluded.event_id)
"""


class SqlEventLog:
    """The outbox of registry changes."""

    def __init__(self, engine: Engine, workspace: str = DEFAULT_WORKSPACE) -> None:
        """Take the database, and the workspace whose marks `latest` gives."""
        self._engine = engine
        self._workspace = workspace

    def read(self, consumer: str, limit: int = 500) -> list[RegistryEvent]:
        """Give events past the consumer's cursor, in order, without those a running transaction may still precede.

        Raises:
            UnavailableError: The database does not answer, or has no tables of ours.
        """
        with translated(), self._engine.connect() as connection:
            cursor = connection.execute(text(_CURSOR), {"consumer": consumer}).one_or_none() or ("0", 0)
            rows = connection.execute(
                text(_PAST_CURSOR),
                {"xact": cursor[0], "id": cursor[1], "workspace": self._workspace, "limit": limit},
            )
            return [_event(row) for row in rows.mappings()]

    def advance(self, consumer: str, last: RegistryEvent) -> None:
        """Move the consumer's cursor to this event; it never moves back.

        Raises:
            UnavailableError: The database does not answer, or has no tables of ours.
        """
        with translated(), self._engine.begin() as connection:
            connection.execute(text(_ADVANCE), {"consumer": consumer, "id": last.id})

    def latest(self, model: str) -> list[RegistryEvent]:
        """Give the newest events that moved a mark of this model, newest first (at most 200).

        Raises:
            UnavailableError: The database does not answer, or has no tables of ours.
        """
        event = registry_event.c
        moved_a_mark = or_(
            event.kind == RegistryEventKind.STAGE,
            and_(event.kind == RegistryEventKind.ALIAS, event.key.in_(STAGE_OF_ALIAS)),
            and_(event.kind == RegistryEventKind.TAG, event.key == STAGE_TAG),
        )
        statement = (
            select(registry_event)
            .where(event.model == model, event.workspace == self._workspace, moved_a_mark)
            .order_by(event.id.desc())
            .limit(_LATEST)
        )
        with translated(), self._engine.connect() as connection:
            return [_event(row) for row in connection.execute(statement).mappings()]

    def now(self) -> datetime:
        """Give the database's time.

        Raises:
            UnavailableError: The database does not answer.
        """
        with translated(), self._engine.connect() as connection:
            time: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
            return time


def _event(row: RowMapping) -> RegistryEvent:
    return RegistryEvent(
        id=row["id"],
        at=row["at"],
        model=row["model"],
        version=row["version"],
        kind=RegistryEventKind(row["kind"]),
        key=row["key"],
        old=row["old"],
        new=row["new"],
        ours=row["ours"],
        workspace=row["workspace"],
    )
