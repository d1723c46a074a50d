"""Alerts as an outbox: each is handed to one deliverer at a time until it has arrived. Raising one: `checks.py`."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, RowMapping, func, select, text, update

from mlflow_ext.domain.alerts import Alert
from mlflow_ext.errors import UnavailableError
from mlflow_ext.store.engine import translated
from mlflow_ext.store.tables import alert

MAX_ATTEMPTS = 30
"""After this many attempts (over a day, with the back-off) an alert is given up; it stays in the table."""
_LONGEST_WAIT_S = 3_600.0


class Alerts:
    """The table `alert`. Every method raises `UnavailableError` without PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        """Take the database."""
        self._engine = engine

    def deliver_next(self, send: Callable[[Alert], None]) -> bool:
        """Hand the oldest undelivered alert to `send`; False when there is none.

        The row stays locked meanwhile, so that other schedulers pass it by. `send` must end within 30 s. A killed
        deliverer may leave an alert that was sent and not noted: it is sent once more, under the same id.

        Args:
            send: Delivers, or raises `UnavailableError`: the alert then waits, longer each time.
        """
        row = alert.c
        due = (
            select(alert)
            .where(
                row.delivered_at.is_(None),
                row.next_attempt_at <= func.clock_timestamp(),
                row.attempts < MAX_ATTEMPTS,
            )
            .order_by(row.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with translated(), self._engine.begin() as connection:
            found = connection.execute(due).mappings().one_or_none()
            if found is None:
                return False
            attempts = found["attempts"] + 1
            change: dict[str, Any] = {"attempts": attempts}
            try:
                send(_alert(found))
            except UnavailableError as exc:
                wait_s = min(2.0 ** min(attempts, 20), _LONGEST_WAIT_S)
                later = func.clock_timestamp() + text(f"interval '{wait_s:.3f} seconds'")
                change |= {"last_error": str(exc), "next_attempt_at": later}
            else:
                change |= {"last_error": None, "delivered_at": func.clock_timestamp()}
            connection.execute(update(alert).where(row.id == found["id"]).values(change))
            return True

    def find(self, model: str | None = None, limit: int = 100) -> list[Alert]:
        """Give alerts, newest first."""
        chosen = select(alert).order_by(alert.c.id.desc()).limit(limit)
        if model is not None:
            chosen = chosen.where(alert.c.model == model)
        with translated(), self._engine.connect() as connection:
            return [_alert(row) for row in connection.execute(chosen).mappings()]


def _alert(row: RowMapping) -> Alert:
    return Alert(**{name: row[name] for name in Alert.__slots__ if name != "details"}, details=row["details"] or {})
