"""Drift checks as rows: wanted, claimed, computed, delivered. When they become due is `schedules.py`'s."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, Engine, RowMapping, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mlflow_ext.domain.drift import OPEN_CHECKS, CheckKind, CheckState, DriftCheck, DriftReport, Window
from mlflow_ext.errors import ConflictError, NotFoundError
from mlflow_ext.store.alert_raising import note_performance, note_skew, note_verdict
from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.lease import LeaseTable
from mlflow_ext.store.tables import drift_check

MANUAL = "manual:"
_COLUMNS = [column for column in drift_check.c if column.name != "snapshot"]


def columns() -> Sequence[Column[Any]]:
    """Give what a check is read from: all but the snapshot."""
    return _COLUMNS


class Checks:
    """The table `drift_check`. Every method raises `UnavailableError` without PostgreSQL."""

    def __init__(self, engine: Engine, *, owner: str = "", lease_s: float = 30.0) -> None:
        """Take the database, this worker's name, and how long it may stay silent."""
        self._engine = engine
        self.lease = LeaseTable(engine, drift_check, owner=owner, lease_s=lease_s)

    def request(
        self, model: str, *, window_s: float, version: int | None, since: datetime | None, until: datetime | None
    ) -> DriftCheck:
        """Ask for a check by hand; the window ends now and is `window_s` long where nothing else is said."""
        with translated(), self._engine.begin() as connection:
            now = connection.execute(select(func.clock_timestamp())).scalar_one()
            end = until or now
            window = Window(since or end - timedelta(seconds=window_s), end)
            add_check(connection, f"{MANUAL}{model}", now, model, window, version)
            chosen = select(*_COLUMNS).where(drift_check.c.schedule == f"{MANUAL}{model}", drift_check.c.slot == now)
            return check_of(connection.execute(chosen).mappings().one())

    def get(self, check_id: int) -> DriftCheck:
        """Give one check.

        Raises:
            NotFoundError: There is none with this number.
        """
        with reading(self._engine) as connection:
            row = connection.execute(select(*_COLUMNS).where(drift_check.c.id == check_id)).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"there is no drift check {check_id}")
        return check_of(row)

    def history(self, model: str | None = None, limit: int = 100, *, kind: CheckKind | None = None) -> list[DriftCheck]:
        """Give checks, newest window first; of every kind for `None`."""
        chosen = select(*_COLUMNS).order_by(drift_check.c.until.desc(), drift_check.c.id.desc()).limit(limit)
        if model is not None:
            chosen = chosen.where(drift_check.c.model == model)
        if kind is not None:
            chosen = chosen.where(drift_check.c.kind == kind)
        with reading(self._engine) as connection:
            return [check_of(row) for row in connection.execute(chosen).mappings()]

    def before(self, check: DriftCheck, version: int, limit: int) -> list[DriftReport]:
        """Give the answers about the windows before one, of the same schedule and version, newest first."""
        row = drift_check.c
        chosen = (
            select(*_COLUMNS)
            .where(
                row.model == check.model,
                row.schedule == check.schedule,
                row.version == version,
                row.verdict.is_not(None),
                row.until < check.window.until,
            )
            .order_by(row.until.desc(), row.id.desc())
            .limit(limit)
        )
        with reading(self._engine) as connection:
            found = [check_of(one) for one in connection.execute(chosen).mappings()]
        return [one.report for one in found if one.report is not None]

    def newest(self, model: str | None = None, kind: CheckKind = CheckKind.DATA) -> list[DriftCheck]:
        """Give the check of a kind with an answer whose window is newest, for each model or for one."""
        row = drift_check.c
        chosen = (
            select(*_COLUMNS)
            .distinct(row.model)
            .where(row.verdict.is_not(None), row.kind == kind)
            .order_by(row.model, row.until.desc(), row.id.desc())
        )
        if model is not None:
            chosen = chosen.where(row.model == model)
        with reading(self._engine) as connection:
            return [check_of(found) for found in connection.execute(chosen).mappings()]

    def any_open(self) -> bool:
        """Tell whether there is work that nobody holds."""
        row = drift_check.c
        free = row.lease_until.is_(None) | (row.lease_until <= func.clock_timestamp())
        chosen = select(row.id).where(row.state.in_(sorted(OPEN_CHECKS)), free).limit(1)
        with reading(self._engine) as connection:
            return connection.execute(chosen).first() is not None

    def claim(self) -> DriftCheck | None:
        """Take the oldest check that nobody is computing."""
        row = self.lease.claim((CheckState.DUE, CheckState.RUNNING), CheckState.RUNNING)
        return None if row is None else check_of(row)

    def claim_delivery(self) -> tuple[DriftCheck, bytes | None] | None:
        """Take the oldest result that MLflow does not have yet, with the snapshot of its report."""
        row = self.lease.claim((CheckState.COMPUTED, CheckState.DELIVERING), CheckState.DELIVERING)
        return None if row is None else (check_of(row), row["snapshot"])

    def computed(
        self, check: DriftCheck, report: DriftReport, snapshot: bytes | None, alert_message: str | None = None
    ) -> None:
        """Store the answer and, in the same transaction, raise or resolve the alert it calls for.

        Raises:
            ConflictError: Another worker took the check over; nothing was written.
        """
        values = {
            "version": report.version,
            "verdict": report.verdict.value,
            "report": report.as_dict(),
            "snapshot": snapshot,
            "error": None,
            "finished_at": func.clock_timestamp(),
        }
        with translated(), self._engine.begin() as connection:
            move(connection, self.lease.owner, check, CheckState.COMPUTED, values)
            if report.kind is CheckKind.SKEW:
                note_skew(connection, check.id, report, alert_message)
                return
            note_verdict(connection, check.id, report, alert_message)
            note_performance(connection, check.id, report)

    def delivered(self, check: DriftCheck, run_id: str | None) -> None:
        """Note that MLflow has it; the snapshot is no longer needed.

        Raises:
            ConflictError: Another worker took the delivery over.
        """
        with translated(), self._engine.begin() as connection:
            move(
                connection,
                self.lease.owner,
                check,
                CheckState.DONE,
                {"run_id": run_id, "snapshot": None, "error": None},
            )

    def postpone(self, check: DriftCheck, state: CheckState, error: str, wait_s: float) -> None:
        """Put it back, to be tried again after `wait_s` seconds."""
        later = func.clock_timestamp() + text(f"interval '{wait_s:.3f} seconds'")
        with translated(), self._engine.begin() as connection:
            move(connection, self.lease.owner, check, state, {"error": error, "lease_until": later})

    def fail(self, check: DriftCheck, error: str) -> None:
        """Give it up, with the reason."""
        with translated(), self._engine.begin() as connection:
            values = {"error": error, "finished_at": func.clock_timestamp(), "snapshot": None}
            move(connection, self.lease.owner, check, CheckState.FAILED, values)

    def is_newest(self, check: DriftCheck) -> bool:
        """Tell whether no later window of the same kind and version has an answer yet."""
        row = drift_check.c
        version = check.version if check.report is None else check.report.version
        mine = (row.model == check.model) & (row.version == version) & (row.kind == check.kind)
        chosen = select(row.id).where(mine, row.verdict.is_not(None), row.until > check.window.until)
        with reading(self._engine) as connection:
            return connection.execute(chosen.limit(1)).first() is None


def move(connection: Connection, owner: str, check: DriftCheck, state: CheckState, values: Mapping[str, Any]) -> None:
    """Let go of a check in a new state.

    Args:
        connection: The transaction.
        owner: Who holds it.
        check: The check, as it was claimed.
        state: Its new state.
        values: What else becomes of its row.

    Raises:
        ConflictError: Another worker took it over.
    """
    row = drift_check.c
    held = (row.id == check.id) & (row.attempt == check.attempt) & (row.lease_owner == owner)
    change: dict[str, Any] = {"state": state.value, "lease_owner": None, "lease_until": None, **values}
    if connection.execute(update(drift_check).where(held).values(change)).rowcount != 1:
        raise ConflictError(f"drift check {check.id} was taken over by another worker")


def add_check(
    connection: Connection,
    schedule: str,
    slot: datetime,
    model: str,
    window: Window,
    version: int | None = None,
    **more: Any,
) -> bool:
    """Enter a check for a slot, with more values of its row; False when the slot already has one."""
    values = {
        **more,
        "schedule": schedule,
        "slot": slot,
        "model": model,
        "version": version,
        "since": window.since,
        "until": window.until,
    }
    entered = upsert(drift_check).values(values).on_conflict_do_nothing()
    return connection.execute(entered).rowcount == 1


def check_of(row: RowMapping) -> DriftCheck:
    """Give a row of the table as a check."""
    report = row["report"]
    return DriftCheck(
        id=row["id"],
        model=row["model"],
        version=row["version"],
        schedule=row["schedule"],
        slot=row["slot"],
        window=Window(row["since"], row["until"]),
        state=CheckState(row["state"]),
        attempt=row["attempt"],
        report=None if report is None else DriftReport.from_dict(report),
        run_id=row["run_id"],
        error=row["error"],
        finished_at=row["finished_at"],
        evaluation=row["evaluation"],
        evaluated_at=row["evaluated_at"],
        kind=CheckKind(row["kind"]),
        rows_version=row["rows_version"],
    )
