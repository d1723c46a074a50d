"""The `EventLog` port on `registry_event`: what the registry triggers wrote, read in an order that loses nothing.

Ids are given when a row is written, transactions commit in any order: a reader that remembers the highest id misses
what commits late. So events are read in the order (transaction, id), and only those of transactions that are older than
every running one. What an event means for a model is decided in `lifecycle/reconcile.py`.
"""

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Engine, and_, bindparam, func, or_, select, text
from sqlalchemy.dialects.postgresql import aggregate_order_by

from mlflow_ext.domain.events import RegistryEvent, RegistryEventKind
from mlflow_ext.domain.stages import STAGE_OF_ALIAS, STAGE_TAG
from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.tables import DEFAULT_WORKSPACE, SCHEMA, registry_event

_LATEST = 200
_KEPT_MODELS = 100

_CURSOR = f"SELECT xact::text, event_id FROM {SCHEMA}.consumer_cursor WHERE consumer = :consumer"

_event = registry_event.c
# as `RegistryEvent` takes them
_COLUMNS = ("id", "at", "model", "version", "kind", "key", "old", "new", "workspace", "ours")

_NEWEST = (
    select(_event.id)
    .where(
        _event.model == bindparam("of_model"),
        _event.workspace == bindparam("of_workspace"),
        or_(
            _event.kind == RegistryEventKind.STAGE,
            and_(_event.kind == RegistryEventKind.ALIAS, _event.key.in_(STAGE_OF_ALIAS)),
            and_(_event.kind == RegistryEventKind.TAG, _event.key == STAGE_TAG),
        ),
    )
    .order_by(_event.id.desc())
    .limit(_LATEST)
    .subquery()
)
# as one value: each row more costs whoever looks often
_MOVES = select(func.array_agg(aggregate_order_by(_NEWEST.c.id, _NEWEST.c.id.desc())))
_BY_ID = select(*(_event[name] for name in _COLUMNS)).where(
    _event.id == func.any(bindparam("ids", type_=ARRAY(BigInteger)))
)

_PAST_CURSOR = f"""
    SELECT {", ".join(_COLUMNS)} FROM {SCHEMA}.registry_event
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
        # what was written stays as it was written
        self._kept: OrderedDict[str, dict[int, RegistryEvent]] = OrderedDict()

    def read(self, consumer: str, limit: int = 500) -> list[RegistryEvent]:
        """Give events past the consumer's cursor, in order, without those a running transaction may still precede.

        Raises:
            UnavailableError: The database does not answer, or has no tables of ours.
        """
        with reading(self._engine) as connection:
            cursor = connection.execute(text(_CURSOR), {"consumer": consumer}).one_or_none() or ("0", 0)
            rows = connection.execute(
                text(_PAST_CURSOR),
                {"xact": cursor[0], "id": cursor[1], "workspace": self._workspace, "limit": limit},
            )
            return [_read(row) for row in rows]

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
        with reading(self._engine) as connection:
            of = {"of_model": model, "of_workspace": self._workspace}
            ids = connection.execute(_MOVES, of).scalar_one() or []
            known = self._kept.pop(model, {})
            new = [one for one in ids if one not in known]
            if new:
                known |= {row[0]: _read(row) for row in connection.execute(_BY_ID, {"ids": new})}
        found = {one: known[one] for one in ids if one in known}
        self._kept[model] = found
        if len(self._kept) > _KEPT_MODELS:
            # the one that was asked for the longest time ago
            self._kept.popitem(last=False)
        return list(found.values())

    def now(self) -> datetime:
        """Give the database's time.

        Raises:
            UnavailableError: The database does not answer.
        """
        with reading(self._engine) as connection:
            time: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
            return time


def _read(row: Sequence[Any]) -> RegistryEvent:
    id_, at, model, version, kind, key, old, new, workspace, ours = row
    return RegistryEvent(id_, at, model, version, RegistryEventKind(kind), key, old, new, workspace, ours)
