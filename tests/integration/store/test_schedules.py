"""When monitors are due: every slot one check, whoever ticks."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from mlflow_ext.domain.drift import Monitor
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.schedules import Schedules, next_slot

HOURLY = Monitor("m", "0 * * * *", "UTC", 3600.0)


def set_back(engine: Engine, interval: str) -> None:
    """Make every schedule due since so long."""
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE mlflow_ext.schedule SET next_run = clock_timestamp() - interval '{interval}'"))


def test_a_due_slot_becomes_one_check_however_many_tick(engine: Engine) -> None:
    """Eight schedulers at once: one check for each of ten monitors."""
    schedules = Schedules(engine)
    schedules.sync([Monitor(f"m{number}", "* * * * * */5", "UTC", 60.0) for number in range(10)])
    set_back(engine, "1 second")
    with ThreadPoolExecutor(8) as pool:
        entered = sum(pool.map(lambda _: schedules.tick(), range(24)))
    checks = Checks(engine).history()
    slots = [(check.schedule, check.slot) for check in checks]
    assert len(slots) == len(set(slots)) == entered
    assert {check.model for check in checks} == {f"m{number}" for number in range(10)}


def test_a_window_ends_at_its_slot(engine: Engine) -> None:
    """And is as long as the policy says."""
    schedules = Schedules(engine)
    schedules.sync([HOURLY])
    set_back(engine, "1 minute")
    assert schedules.tick() == 1
    [check] = Checks(engine).history("m")
    assert check.window.until == check.slot
    assert check.window.until - check.window.since == timedelta(hours=1)
    assert schedules.tick() == 0


def test_slots_that_nobody_was_there_for_become_one_check(engine: Engine) -> None:
    """After three days without a scheduler: one check, for the latest slot."""
    schedules = Schedules(engine)
    schedules.sync([HOURLY])
    set_back(engine, "3 days")
    assert schedules.tick() == 1
    [check] = Checks(engine).history("m")
    assert datetime.now(UTC) - check.slot < timedelta(hours=1, minutes=1)


def test_the_table_follows_the_policies(engine: Engine) -> None:
    """New monitors enter, changed ones get their new slot, removed ones go, unchanged ones keep theirs."""
    schedules = Schedules(engine)

    def rows() -> dict[str, tuple[str, datetime]]:
        with engine.connect() as connection:
            found = connection.execute(text("SELECT model, cron, next_run FROM mlflow_ext.schedule"))
            return {one.model: (one.cron, one.next_run) for one in found}

    schedules.sync([HOURLY, Monitor("gone", "0 * * * *", "UTC", 60.0)])
    set_back(engine, "1 minute")
    before = rows()
    schedules.sync([HOURLY, Monitor("new", "0 0 * * *", "UTC", 60.0)])
    assert set(rows()) == {"m", "new"}
    assert rows()["m"] == before["m"]
    schedules.sync([Monitor("m", "30 * * * *", "UTC", 60.0)])
    assert rows()["m"][1].minute == 30


@pytest.mark.parametrize(
    ("timezone", "after", "expected"),
    [
        ("Europe/Berlin", "2026-01-10T00:00+00:00", "2026-01-10T05:00+00:00"),
        ("Europe/Berlin", "2026-07-10T00:00+00:00", "2026-07-10T04:00+00:00"),
        ("America/New_York", "2026-01-10T00:00+00:00", "2026-01-10T11:00+00:00"),
    ],
)
def test_cron_text_is_read_in_its_time_zone(timezone: str, after: str, expected: str) -> None:
    """Six in the morning is six in the morning there, in winter and in summer."""
    found = next_slot("0 6 * * *", timezone, datetime.fromisoformat(after))
    assert found == datetime.fromisoformat(expected)
