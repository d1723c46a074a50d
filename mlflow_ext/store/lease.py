"""Who works on which row: claim, renew, finish with a fence. One lease serves promotions, checks and retraining.

A claim raises `attempt`; every later write names the attempt it was made under, so that a worker that was stopped and
wakes up late changes nothing. Only database time counts.
"""

import logging
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, RowMapping, Table, and_, case, func, or_, select, text, update

from mlflow_ext.errors import UnavailableError
from mlflow_ext.store.engine import translated

_log = logging.getLogger(__name__)

_LONGEST_DELAY_S = 3600.0
"""Nothing is let go of for longer than that."""
_LEASES = 2.0
"""Workers may have somewhat different leases."""


@dataclass(frozen=True, slots=True)
class LeaseTable:
    """Leases over one table with the columns `id`, `state`, `attempt`, `lease_owner`, `lease_until`.

    Attributes:
        engine: Database.
        table: The table.
        owner: Name of this worker, unique among the living (host, pid and a random part).
        lease_s: Seconds after which a worker that says nothing counts as dead.
    """

    engine: Engine
    table: Table
    owner: str
    lease_s: float

    def claim(self, states: Collection[str], working: str) -> RowMapping | None:
        """Take the oldest row in one of `states` that nobody holds, and set it to `working`."""
        row = self.table.c
        due = (
            select(row.id)
            .where(and_(row.state.in_(states), self._free()))
            .order_by(row.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with translated(), self.engine.begin() as connection:
            return (
                connection.execute(
                    update(self.table)
                    .where(row.id == due.scalar_subquery())
                    .values(
                        state=working, attempt=row.attempt + 1, lease_owner=self.owner, lease_until=self._deadline()
                    )
                    .returning(self.table)
                )
                .mappings()
                .one_or_none()
            )

    def renew(self, row_id: int, attempt: int) -> bool:
        """Go on holding the row; False means that somebody else took it over."""
        return self._write(row_id, attempt, {"lease_until": self._deadline()})

    def finish(self, row_id: int, attempt: int, values: dict[str, Any]) -> bool:
        """Write the result and let go; False means that the row was taken over and nothing was written."""
        return self._write(row_id, attempt, {**values, "lease_owner": None, "lease_until": None})

    def let_go(self, row_id: int, attempt: int, values: dict[str, Any]) -> bool:
        """Let go of the row and write `values`, among them when it may be claimed again (`lease_until`)."""
        return self._write(row_id, attempt, {"lease_owner": None, **values})

    def release(self) -> int:
        """Let go of everything this worker holds, so that another takes it over at once; the rows stay as they are."""
        row = self.table.c
        with translated(), self.engine.begin() as connection:
            return connection.execute(
                update(self.table).where(row.lease_owner == self.owner).values(lease_owner=None, lease_until=None)
            ).rowcount

    @contextmanager
    def held(self, row_id: int, attempt: int) -> Iterator[threading.Event]:
        """Go on holding the row while the block runs, from a thread of its own.

        Yields:
            Set when somebody else took the row over: stop working on it. (Writes are fenced anyway.)
        """
        done, lost = threading.Event(), threading.Event()

        def hold() -> None:
            while not done.wait(self.lease_s / 3):
                try:
                    if not self.renew(row_id, attempt):
                        lost.set()
                        return
                except UnavailableError as exc:
                    _log.warning("lease.renewal_waits table=%s id=%d reason=%s", self.table.name, row_id, exc)

        holder = threading.Thread(target=hold, name=f"lease-{self.table.name}-{row_id}", daemon=True)
        holder.start()
        try:
            yield lost
        finally:
            done.set()
            holder.join()

    def _write(self, row_id: int, attempt: int, values: dict[str, Any]) -> bool:
        row = self.table.c
        held = and_(row.id == row_id, row.attempt == attempt, row.lease_owner == self.owner)
        with translated(), self.engine.begin() as connection:
            return connection.execute(update(self.table).where(held).values(values)).rowcount == 1

    def _free(self) -> Any:
        """Tell which rows nobody holds; a lease that ends later than any can was given before the clock was set back.

        Whoever is still at work on such a row loses it, and is refused when it writes.
        """
        row, now = self.table.c, func.clock_timestamp()
        longest_s = case((row.lease_owner.is_(None), _LONGEST_DELAY_S), else_=_LEASES * self.lease_s)
        return or_(
            row.lease_until.is_(None),
            row.lease_until <= now,
            row.lease_until > now + longest_s * text("interval '1 second'"),
        )

    def _deadline(self) -> Any:
        return func.clock_timestamp() + text(f"interval '{self.lease_s:.3f} seconds'")
