"""When monitors are due: every slot one check, whoever ticks."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, text

from mlflow_ext.domain.drift import Monitor
from mlflow_ext.errors import NotFoundError
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.schedules import MOST_AT_ONCE, Schedules
from mlflow_ext.store.slots import last_slot, next_slot

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


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo"]


def slots_of_2026(cron: str, timezone: str) -> list[datetime]:
    """Every slot of a year there."""
    zone = ZoneInfo(timezone)
    found = [next_slot(cron, timezone, datetime(2025, 12, 31, 23, 59, 59, tzinfo=zone))]
    while (following := next_slot(cron, timezone, found[-1])).astimezone(zone).year == 2026:
        found.append(following)
    return found


@pytest.mark.parametrize("timezone", ZONES)
@pytest.mark.parametrize("minute", [0, 30])
@pytest.mark.parametrize("hour", [1, 2])
def test_a_daily_slot_comes_once_a_day_however_the_clocks_are_put(timezone: str, hour: int, minute: int) -> None:
    """In the hour that comes twice, and in the one that is missing."""
    slots = slots_of_2026(f"{minute} {hour} * * *", timezone)
    assert len({slot.astimezone(ZoneInfo(timezone)).date() for slot in slots}) == len(slots) == 365
    assert slots == sorted(slots)


@pytest.mark.parametrize("timezone", ["Europe/Berlin", "Australia/Lord_Howe"])
def test_an_hourly_slot_comes_every_hour_however_the_clocks_are_put(timezone: str) -> None:
    """Both of the hours with one name, and one less in spring; where clocks go by half an hour, one of 90 minutes."""
    slots = slots_of_2026("0 * * * *", timezone)
    assert len(slots) == 8760 - (timezone == "Australia/Lord_Howe")
    gaps = {(after - before).total_seconds() for before, after in pairwise(slots)}
    assert gaps <= {3600.0, 5400.0}


@pytest.mark.parametrize("timezone", ZONES)
@pytest.mark.parametrize("cron", ["30 2 * * *", "15 1 * * 0"])
def test_looking_back_finds_the_slot_that_looking_forward_found(timezone: str, cron: str) -> None:
    """So that coalescing never enters a slot that is none."""
    for slot in slots_of_2026(cron, timezone):
        assert last_slot(cron, timezone, slot + timedelta(seconds=1)) == slot


def test_catching_up_enters_every_slot_that_was_missed(engine: Engine) -> None:
    """Three days without a scheduler: one check an hour, each with its own window; in parts, if they are many."""
    schedules = Schedules(engine)
    schedules.sync([replace(HOURLY, catch_up="all"), Monitor("often", "* * * * *", "UTC", 60.0, "all")])
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE mlflow_ext.schedule SET next_run = date_trunc('hour', clock_timestamp()) - interval '10 hours'"
            )
        )
    entered = [schedules.tick() for _ in range(5)]
    assert entered[0] == 11 + MOST_AT_ONCE
    assert entered[-1] == 0
    for model, step in (("m", timedelta(hours=1)), ("often", timedelta(minutes=1))):
        slots = sorted(check.slot for check in Checks(engine).history(model, 10_000))
        assert {after - before for before, after in pairwise(slots)} == {step}
        assert slots[-1] <= datetime.now(UTC) < slots[-1] + step + timedelta(seconds=5)
        assert slots[-1] - slots[0] >= timedelta(hours=10)


def test_a_paused_schedule_rests_and_goes_on_from_now(engine: Engine) -> None:
    """Whoever paused it is named, also after the policy was read again; the slots of the pause are not made up for."""
    schedules = Schedules(engine)
    schedules.sync([HOURLY])
    schedules.pause("m", "ada")
    schedules.pause("m", "bob")
    set_back(engine, "5 hours")
    schedules.sync([HOURLY])
    assert schedules.tick() == 0
    [seen] = schedules.find()
    assert (seen.paused, seen.paused_by) == (True, "ada")
    assert seen.paused_at is not None
    schedules.resume("m")
    [seen] = schedules.find()
    assert not seen.paused
    assert seen.next_run > datetime.now(UTC)
    assert schedules.tick() == 0
    with pytest.raises(NotFoundError, match="has no schedule"):
        schedules.pause("other", "ada")


def test_a_pause_may_be_made_up_for(engine: Engine) -> None:
    """Where whoever resumes asks for it: as the policy's catch-up says."""
    schedules = Schedules(engine)
    schedules.sync([replace(HOURLY, catch_up="all")])
    schedules.pause("m", "ada")
    set_back(engine, "5 hours")
    schedules.resume("m", catch_up=True)
    assert schedules.tick() >= 5
