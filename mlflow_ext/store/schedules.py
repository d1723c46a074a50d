"""When a monitor's next check is due. Any number of schedulers may tick: each slot becomes one check.

Only database time counts; cron text is croniter's. Slots missed while nobody ran become one check, for the latest.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter
from sqlalchemy import Engine, RowMapping, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mlflow_ext.domain.drift import Monitor, Window
from mlflow_ext.store.checks import add_check
from mlflow_ext.store.engine import translated
from mlflow_ext.store.tables import schedule

_PREFIX = "drift:"


class Schedules:
    """The table `schedule`. Every method raises `UnavailableError` without PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        """Take the database."""
        self._engine = engine

    def sync(self, monitors: Collection[Monitor]) -> None:
        """Make the table say what the policies say; a monitor whose cron text is unchanged keeps its next slot."""
        with translated(), self._engine.begin() as connection:
            now = connection.execute(select(func.clock_timestamp())).scalar_one()
            names = [monitor.schedule for monitor in monitors]
            row = schedule.c
            connection.execute(delete(schedule).where(row.name.startswith(_PREFIX), row.name.not_in(names)))
            for monitor in monitors:
                values = {
                    "model": monitor.model,
                    "cron": monitor.cron,
                    "timezone": monitor.timezone,
                    "window_s": monitor.window_s,
                }
                entered = upsert(schedule).values(
                    name=monitor.schedule, next_run=next_slot(monitor.cron, monitor.timezone, now), **values
                )
                new = entered.excluded
                connection.execute(
                    entered.on_conflict_do_update(
                        index_elements=[row.name],
                        set_={**values, "next_run": new.next_run, "updated_at": func.clock_timestamp()},
                        where=(row.cron != new.cron) | (row.timezone != new.timezone),
                    )
                )
                connection.execute(
                    update(schedule)
                    .where(row.name == monitor.schedule, row.window_s != monitor.window_s)
                    .values(window_s=monitor.window_s)
                )

    def tick(self) -> int:
        """Turn every slot that is due into a check and move on to the next; gives the number of new checks."""
        entered = 0
        with translated(), self._engine.begin() as connection:
            due = (
                select(schedule, func.clock_timestamp().label("now"))
                .where(schedule.c.next_run <= func.clock_timestamp(), schedule.c.paused.is_(False))
                .order_by(schedule.c.next_run)
                .with_for_update(skip_locked=True)
            )
            for row in connection.execute(due).mappings().all():
                slot = _latest_slot(row)
                window = Window(slot - timedelta(seconds=row["window_s"]), slot)
                entered += add_check(connection, row["name"], slot, row["model"], window)
                connection.execute(
                    update(schedule)
                    .where(schedule.c.name == row["name"])
                    .values(
                        next_run=next_slot(row["cron"], row["timezone"], row["now"]), updated_at=func.clock_timestamp()
                    )
                )
        return entered


def next_slot(cron: str, timezone: str, after: datetime) -> datetime:
    """Give the first time after `after` at which the cron text is due, read in the time zone."""
    found: datetime = croniter(cron, after.astimezone(ZoneInfo(timezone))).get_next(datetime)
    return found


def latest_slot(cron: str, timezone: str, before: datetime) -> datetime:
    """Give the last time before `before` at which the cron text was due, read in the time zone."""
    found: datetime = croniter(cron, before.astimezone(ZoneInfo(timezone))).get_prev(datetime)
    return found


def _latest_slot(row: RowMapping) -> datetime:
    """Give the newest slot that is due: slots that nobody was there for are not checked one by one."""
    next_run: datetime = row["next_run"]
    return max(next_run, latest_slot(row["cron"], row["timezone"], row["now"]))
