"""Checks whose rows got labels since they were measured: entered, claimed, measured anew; earlier values are kept.

What is measured is `drift/remeasuring.py`'s business, what labels are `labels.py`'s.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, and_, case, exists, func, insert, select, text, update

from mlflow_ext.domain.drift import CheckKind, CheckState, DriftCheck, DriftReport
from mlflow_ext.store.alert_raising import note_performance
from mlflow_ext.store.checks import check_of, move
from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.evaluation_table import drift_evaluation
from mlflow_ext.store.lease import LeaseTable
from mlflow_ext.store.tables import drift_check, feedback

GIVEN_UP_S = 3_600.0
"""A measurement that is not through so long after it was entered is left until labels are looked for again."""
_COMMIT_S = 60.0
"""Feedback may be seen so much later than it says that it came: it is visible when its transaction ends."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An earlier measurement of a window's performance.

    Attributes:
        evaluation: Its number, from 0.
        at: When it was made.
        performance: What it gave, by metric.
    """

    evaluation: int
    at: datetime
    performance: dict[str, float]


class Relabelling:
    """The checks that labels came for. Every method raises `UnavailableError` without PostgreSQL."""

    def __init__(self, engine: Engine, *, owner: str = "", lease_s: float = 30.0) -> None:
        """Take the database, this worker's name, and how long it may stay silent."""
        self._engine = engine
        self.lease = LeaseTable(engine, drift_check, owner=owner, lease_s=lease_s)

    def enter(self, model: str, *, look_s: float, wait_s: float) -> int:
        """Enter every finished check that feedback of the model came for since labels were looked for; gives how many.

        Whether the feedback is about the check's rows is seen when they are read.

        Args:
            model: Registered model.
            look_s: Seconds between two looks for labels of one check.
            wait_s: Seconds in which feedback may come; at their end it is looked for once more.
        """
        row, now = drift_check.c, func.clock_timestamp()
        looked = func.coalesce(row.labels_looked_at, row.finished_at)
        end = func.greatest(row.until, row.finished_at) + _seconds(wait_s)
        last = end - _seconds(min(look_s, wait_s / 2))
        measured = func.coalesce(row.evaluated_at, row.finished_at)
        since = case((now >= last, measured), else_=looked) - _seconds(_COMMIT_S)
        came = exists().where(feedback.c.model == row.model, feedback.c.received_at > since)
        due = and_(
            *(
                row.kind == CheckKind.DATA,
                row.model == model,
                row.state == CheckState.DONE,
                row.version.is_not(None),
                row.verdict.is_not(None),
            ),
            *(looked < last, now >= func.least(looked + _seconds(look_s), last), came),
        )
        entered = update(drift_check).where(due).values(state=CheckState.LABELLED, labels_looked_at=now)
        with translated(), self._engine.begin() as connection:
            return connection.execute(entered).rowcount

    def claim(self) -> DriftCheck | None:
        """Take the oldest check that waits to be measured anew; those that waited too long are let be."""
        row = drift_check.c
        waiting = (CheckState.LABELLED, CheckState.MEASURING)
        old = row.labels_looked_at < func.clock_timestamp() - _seconds(GIVEN_UP_S)
        nobodys = row.lease_until.is_(None) | (row.lease_until <= func.clock_timestamp())
        over = update(drift_check).where(row.state.in_(waiting), old, nobodys)
        with translated(), self._engine.begin() as connection:
            connection.execute(over.values(state=CheckState.DONE, lease_owner=None, lease_until=None))
        found = self.lease.claim(waiting, CheckState.MEASURING)
        return None if found is None else check_of(found)

    def unchanged(self, check: DriftCheck) -> None:
        """Leave a check as it was measured before.

        Raises:
            ConflictError: Another worker took it over.
        """
        with translated(), self._engine.begin() as connection:
            move(connection, self.lease.owner, check, CheckState.DONE, {"error": None})

    def measured(self, check: DriftCheck, report: DriftReport) -> None:
        """Store a new measurement, keep the former, and raise or resolve the alert that the new one calls for.

        Raises:
            ConflictError: Another worker took it over; nothing was written.
        """
        former = {} if check.report is None else check.report.performance
        values: dict[str, Any] = {
            "report": report.as_dict(),
            "evaluation": report.evaluation,
            "evaluated_at": func.clock_timestamp(),
            "error": None,
        }
        kept = {"check_id": check.id, "evaluation": check.evaluation, "performance": former}
        with translated(), self._engine.begin() as connection:
            move(connection, self.lease.owner, check, CheckState.COMPUTED, values)
            at = check.evaluated_at or check.finished_at
            connection.execute(insert(drift_evaluation).values(**kept, at=at))
            note_performance(connection, check.id, report)

    def earlier(self, check_id: int) -> list[Evaluation]:
        """Give the measurements before a check's present one, oldest first."""
        row = drift_evaluation.c
        chosen = select(row.evaluation, row.at, row.performance).where(row.check_id == check_id)
        with reading(self._engine) as connection:
            return [Evaluation(**one) for one in connection.execute(chosen.order_by(row.evaluation)).mappings()]


def _seconds(count: float) -> Any:
    return text(f"interval '{count:.3f} seconds'")
