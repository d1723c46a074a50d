"""The `Pointers` port on `serving_pointer`: moved by compare-and-set, each move notifies the replicas.

Which version a pointer should name is decided in `lifecycle/reconcile.py`.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError

from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.errors import ConflictError
from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.tables import DEFAULT_WORKSPACE, serving_pointer

_log = logging.getLogger(__name__)

CHANNEL = "mlflow_ext_pointer"
"""LISTEN channel; the payload is the registered model's name."""

# asked for whenever a mark moves: to build a statement costs more than to send it
_ONE = select(serving_pointer).where(
    serving_pointer.c.workspace == bindparam("of_workspace"), serving_pointer.c.model == bindparam("of_model")
)

_PAYLOAD_CHARACTERS = 1000  # a notification holds less than 8,000 bytes, a character of UTF-8 at most 4
_STOPPED_S = 5
"""A process that says nothing for so long while it holds a model's agreement loses it."""
_WAKE_S = 1.0


class SqlPointers:
    """Which version of each model is served."""

    def __init__(self, engine: Engine, workspace: str = DEFAULT_WORKSPACE) -> None:
        """Take the database, and the workspace whose models are served."""
        self._engine = engine
        self._workspace = workspace

    def all(self) -> list[ServingPointer]:
        """Give every pointer, by model name."""
        table = serving_pointer.c
        return self._read(select(serving_pointer).where(table.workspace == self._workspace).order_by(table.model))

    def get(self, model: str) -> ServingPointer | None:
        """Give one model's pointer."""
        found = self._read(_ONE, of_workspace=self._workspace, of_model=model)
        return found[0] if found else None

    def move(self, model: str, version: int | None, *, seen_generation: int, reason: str) -> ServingPointer:
        """Compare-and-set, and notify the replicas in the same transaction.

        Raises:
            ConflictError: Somebody moved it since.
            UnavailableError: The database does not answer, or has no tables of ours.
        """
        statement = (
            self._first(model, version, reason)
            if seen_generation == 0
            else self._next(model, version, seen_generation, reason)
        )
        with translated(), self._engine.begin() as connection:
            row = connection.execute(statement).mappings().one_or_none()
            if row is None:
                raise ConflictError(
                    f"the serving pointer of '{model}' has moved past generation {seen_generation}; read it again"
                )
            connection.execute(select(func.pg_notify(CHANNEL, model[:_PAYLOAD_CHARACTERS])))
            return _pointer(row)

    @contextmanager
    def hold(self, model: str) -> Iterator[None]:
        """Let one process at a time bring this model's marks into agreement.

        The lock is the connection's: kill -9 gives it back at once, a stopped process loses it after a few seconds.

        Raises:
            UnavailableError: Somebody else held it for longer than 10 s, or the database does not answer.
        """
        name = f"mlflow_ext/agreement/{self._workspace}/{model}"
        with translated(), self._engine.connect() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
            # before the lock is ours: who is stopped while it waits gets it all the same
            connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{_STOPPED_S}s'"))
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
            with _kept_awake(connection):
                yield

    def _first(self, model: str, version: int | None, reason: str) -> Any:
        return (
            upsert(serving_pointer)
            .values(workspace=self._workspace, model=model, version=version, generation=1, reason=reason)
            .on_conflict_do_nothing()
            .returning(serving_pointer)
        )

    def _next(self, model: str, version: int | None, seen_generation: int, reason: str) -> Any:
        table = serving_pointer.c
        return (
            update(serving_pointer)
            .where(table.workspace == self._workspace, table.model == model, table.generation == seen_generation)
            .values(
                version=version,
                generation=seen_generation + 1,
                previous_version=table.version,
                reason=reason,
                moved_at=func.clock_timestamp(),
            )
            .returning(serving_pointer)
        )

    def _read(self, statement: Any, **values: str) -> list[ServingPointer]:
        with reading(self._engine) as connection:
            return [_pointer(row) for row in connection.execute(statement, values).mappings()]


@contextmanager
def _kept_awake(connection: Connection) -> Iterator[None]:
    """Let PostgreSQL end the transaction only if this process stops, however long MLflow takes to answer it."""
    over = threading.Event()

    def wake() -> None:
        while not over.wait(_WAKE_S):
            try:
                connection.execute(select(1))
            except DBAPIError as exc:
                _log.warning("agreement_lock_lost reason=%r", str(exc.orig).strip())
                return

    waker = threading.Thread(target=wake, name="agreement-lock", daemon=True)
    waker.start()
    try:
        yield
    finally:
        over.set()
        waker.join()


def _pointer(row: RowMapping) -> ServingPointer:
    return ServingPointer(
        model=row["model"],
        version=row["version"],
        generation=row["generation"],
        previous_version=row["previous_version"],
        moved_at=row["moved_at"],
        workspace=row["workspace"],
    )
