"""When a monitor's next check is due. Any number of schedulers may tick: each slot becomes one check.

Only database time counts; when slots are says `mlflow_ext.store.slots.py`. Slots that nobody was there for become one
check, for the latest, or one each, as the schedule's `catch_up` says.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, RowMapping, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mlflow_ext.domain.drift import Monitor, Window
from mlflow_ext.errors import NotFoundError
from mlflow_ext.store.checks import add_check
from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.slots import last_slot, next_slot
from mlflow_ext.store.tables import schedule

_PREFIX = "drift:"
MOST_AT_ONCE = 200
"""Slots of one schedule that one tick enters; the next one goes on."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as it stands.

    Attributes:
        name: `drift:MODEL`.
        model: Registered model.
        cron: Cron text.
        timezone: IANA name in which it is read.
        window_s: Seconds of predictions that a check looks at.
        catch_up: `coalesce` or `all`.
        next_run: Next slot; in the past while it is due or paused.
        paused: Whether it is paused.
        paused_by: Who did.
        paused_at: When.
    """

    name: str
    model: str
    cron: str
    timezone: str
    window_s: float
    catch_up: str
    next_run: datetime
    paused: bool
    paused_by: str
    paused_at: datetime | None


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
                    "catch_up": monitor.catch_up,
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
                other = or_(row.window_s != monitor.window_s, row.catch_up != monitor.catch_up)
                connection.execute(
                    update(schedule)
                    .where(row.name == monitor.schedule, other)
                    .values(window_s=monitor.window_s, catch_up=monitor.catch_up)
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
                slots, following = _due_slots(row)
                for slot in slots:
                    window = Window(slot - timedelta(seconds=row["window_s"]), slot)
                    entered += add_check(connection, row["name"], slot, row["model"], window)
                connection.execute(
                    update(schedule)
                    .where(schedule.c.name == row["name"])
                    .values(next_run=following, updated_at=func.clock_timestamp())
                )
        return entered

    def find(self) -> list[Schedule]:
        """Give every schedule, by model."""
        chosen = select(*(schedule.c[name] for name in Schedule.__slots__)).order_by(schedule.c.model, schedule.c.name)
        with reading(self._engine) as connection:
            return [Schedule(**row) for row in connection.execute(chosen).mappings()]

    def pause(self, model: str, by: str) -> None:
        """Enter no checks of a model any more, until somebody resumes; one that is paused stays as it is.

        Raises:
            NotFoundError: The model has no schedule.
        """
        with translated(), self._engine.begin() as connection:
            found = _one(connection, model)
            if not found["paused"]:
                values = {"paused": True, "paused_by": by, "paused_at": func.clock_timestamp()}
                connection.execute(update(schedule).where(schedule.c.name == found["name"]).values(values))

    def resume(self, model: str, *, catch_up: bool = False) -> None:
        """Go on from now; with `catch_up`, the slots of the pause are made up for as the schedule's policy says.

        Raises:
            NotFoundError: The model has no schedule.
        """
        with translated(), self._engine.begin() as connection:
            found = _one(connection, model)
            if not found["paused"]:
                return
            values: dict[str, object] = {"paused": False, "paused_by": "", "paused_at": None}
            if not catch_up:
                following = next_slot(found["cron"], found["timezone"], found["now"])
                values["next_run"] = max(found["next_run"], following)
            connection.execute(update(schedule).where(schedule.c.name == found["name"]).values(values))


def _one(connection: Connection, model: str) -> RowMapping:
    chosen = (
        select(schedule, func.clock_timestamp().label("now"))
        .where(schedule.c.name == f"{_PREFIX}{model}")
        .with_for_update()
    )
    found = connection.execute(chosen).mappings().one_or_none()
    if found is None:
        raise NotFoundError(
            f"{model} has no schedule; give its policy a `drift.schedule`, and a running scheduler takes it up"
        )
    return found


def _due_slots(row: RowMapping) -> tuple[list[datetime], datetime]:
    """Give the slots to enter now, and the one after them."""
    cron, timezone, now, slot = row["cron"], row["timezone"], row["now"], row["next_run"]
    if row["catch_up"] != "all":
        return [max(slot, last_slot(cron, timezone, now))], next_slot(cron, timezone, now)
    slots: list[datetime] = []
    while slot <= now and len(slots) < MOST_AT_ONCE:
        slots.append(slot)
        slot = next_slot(cron, timezone, slot)
    return slots, slot
