"""Retrainings as rows: which alerts start one, who runs it, how it ended. Running it: `drift/retraining.py`."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mlflow_ext.domain.retraining import Retraining, RetrainingState
from mlflow_ext.policy import RetrainingPolicy
from mlflow_ext.store.engine import translated
from mlflow_ext.store.lease import LeaseTable
from mlflow_ext.store.tables import alert, drift_check, retraining

_OPEN = (RetrainingState.DUE, RetrainingState.RUNNING)
_COLUMNS = [retraining.c[name] for name in Retraining.__slots__]


class Retrainings:
    """The table `retraining`. Every method raises `UnavailableError` without PostgreSQL."""

    def __init__(self, engine: Engine, *, owner: str = "", lease_s: float = 30.0) -> None:
        """Take the database, this worker's name, and how long it may stay silent."""
        self._engine = engine
        self.lease = LeaseTable(engine, retraining, owner=owner, lease_s=lease_s)

    def consider_next_alert(self, policy_of: Callable[[str], RetrainingPolicy]) -> tuple[int, str] | None:
        """Decide what the oldest undecided alert triggers, and record the decision; `None` when all are decided.

        Returns:
            Number of the alert, and the decision: `opened retraining 7`, or why there is none.
        """
        undecided = (
            select(alert.c.id, alert.c.model, drift_check.c.since, drift_check.c.until)
            .outerjoin(drift_check, drift_check.c.id == alert.c.check_id)
            .where(alert.c.retraining.is_(None))
            .order_by(alert.c.id)
            .limit(1)
            .with_for_update(skip_locked=True, of=alert)
        )
        with translated(), self._engine.begin() as connection:
            row = connection.execute(undecided).mappings().one_or_none()
            if row is None:
                return None
            decision = _decide(connection, row, policy_of(row["model"]))
            connection.execute(update(alert).where(alert.c.id == row["id"]).values(retraining=decision))
            return row["id"], decision

    def claim(self) -> Retraining | None:
        """Take the oldest retraining that nobody runs."""
        row = self.lease.claim(_OPEN, RetrainingState.RUNNING)
        return None if row is None else _retraining(row)

    def any_open(self) -> bool:
        """Tell whether there is work that nobody holds."""
        row = retraining.c
        free = row.lease_until.is_(None) | (row.lease_until <= func.clock_timestamp())
        with translated(), self._engine.connect() as connection:
            return connection.execute(select(row.id).where(row.state.in_(_OPEN), free).limit(1)).first() is not None

    def done(self, one: Retraining, run_id: str, version: int) -> bool:
        """Record the version; False when another worker took it over."""
        return self._finish(one, {"state": RetrainingState.DONE, "run_id": run_id, "version": version, "error": None})

    def failed(self, one: Retraining, error: str) -> bool:
        """Record why it ended without a version; False when another worker took it over."""
        return self._finish(one, {"state": RetrainingState.FAILED, "error": error})

    def postpone(self, one: Retraining, error: str, wait_s: float) -> bool:
        """Put it back, to be tried again after `wait_s` seconds; False when another worker took it over."""
        later = func.clock_timestamp() + text(f"interval '{wait_s:.3f} seconds'")
        return self.lease.let_go(one.id, one.attempt, {"error": error, "lease_until": later})

    def find(self, model: str | None = None, limit: int = 100) -> list[Retraining]:
        """Give retrainings, newest first."""
        chosen = select(*_COLUMNS).order_by(retraining.c.id.desc()).limit(limit)
        if model is not None:
            chosen = chosen.where(retraining.c.model == model)
        with translated(), self._engine.connect() as connection:
            return [_retraining(row) for row in connection.execute(chosen).mappings()]

    def _finish(self, one: Retraining, values: dict[str, Any]) -> bool:
        return self.lease.finish(one.id, one.attempt, {**values, "finished_at": func.clock_timestamp()})


def _decide(connection: Connection, row: RowMapping, policy: RetrainingPolicy) -> str:
    if policy.project is None:
        return "none: the policy names no project"
    mine = retraining.c.model == row["model"]
    cooldown = text(f"interval '{policy.cooldown_s:.3f} seconds'")
    ends = retraining.c.finished_at + cooldown
    cooling = connection.execute(
        select(func.max(ends)).where(mine, retraining.c.finished_at.is_not(None), ends > func.clock_timestamp())
    ).scalar()
    if cooling is not None:
        return f"none: cooling down until {cooling.isoformat(timespec='seconds')}"
    opened = connection.execute(
        upsert(retraining)
        .values(
            model=row["model"],
            cause=f"alert {row['id']}",
            alert_id=row["id"],
            since=row["since"],
            until=row["until"],
        )
        .on_conflict_do_nothing()
        .returning(retraining.c.id)
    ).scalar()
    if opened is not None:
        return f"opened retraining {opened}"
    other = connection.execute(select(retraining.c.id).where(mine, retraining.c.state.in_(_OPEN))).scalar()
    return f"none: retraining {other} is open"


def _retraining(row: RowMapping) -> Retraining:
    values = {name: row[name] for name in Retraining.__slots__}
    return Retraining(**{**values, "state": RetrainingState(row["state"])})
