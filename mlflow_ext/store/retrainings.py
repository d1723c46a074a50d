"""Retrainings as rows: who runs one, how it ended. What opens one is `retraining_triggers.py`; running it, `drift/`."""

from typing import Any

from sqlalchemy import Engine, RowMapping, func, select, text

from mlflow_ext.domain.retraining import Retraining, RetrainingState, Trigger
from mlflow_ext.store.engine import reading
from mlflow_ext.store.lease import LeaseTable
from mlflow_ext.store.tables import retraining

OPEN = (RetrainingState.DUE, RetrainingState.RUNNING)
_COLUMNS = [retraining.c[name] for name in Retraining.__slots__]


class Retrainings:
    """The table `retraining`. Every method raises `UnavailableError` without PostgreSQL."""

    def __init__(self, engine: Engine, *, owner: str = "", lease_s: float = 30.0) -> None:
        """Take the database, this worker's name, and how long it may stay silent."""
        self._engine = engine
        self.lease = LeaseTable(engine, retraining, owner=owner, lease_s=lease_s)

    def claim(self) -> Retraining | None:
        """Take the oldest retraining that nobody runs."""
        row = self.lease.claim(OPEN, RetrainingState.RUNNING)
        return None if row is None else _retraining(row)

    def any_open(self) -> bool:
        """Tell whether there is work that nobody holds."""
        row = retraining.c
        free = row.lease_until.is_(None) | (row.lease_until <= func.clock_timestamp())
        with reading(self._engine) as connection:
            return connection.execute(select(row.id).where(row.state.in_(OPEN), free).limit(1)).first() is not None

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
        with reading(self._engine) as connection:
            return [_retraining(row) for row in connection.execute(chosen).mappings()]

    def _finish(self, one: Retraining, values: dict[str, Any]) -> bool:
        return self.lease.finish(one.id, one.attempt, {**values, "finished_at": func.clock_timestamp()})


def _retraining(row: RowMapping) -> Retraining:
    values = {name: row[name] for name in Retraining.__slots__}
    return Retraining(**{**values, "state": RetrainingState(row["state"]), "trigger": Trigger(row["trigger"])})
