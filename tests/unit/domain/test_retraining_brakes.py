"""When a retraining may start: each brake, what a person may, and that the world is not chased in circles for ever."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ext.domain.retraining import Hold, HoldKind, RetrainingState, Trigger
from mlflow_ext.domain.retraining_brakes import WEEK, Brake, Limits, Past, cycles, refusal

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIMITS = Limits(cooldown=HOUR, weekly_budget=5, halt_after=3, settle=timedelta(days=2))
AUTOMATIC = [one for one in Trigger if one is not Trigger.MANUAL]


def past(
    *hours_ago: float, trigger: Trigger = Trigger.DRIFT, state: RetrainingState = RetrainingState.DONE
) -> list[Past]:
    """Make retrainings of ten minutes, newest first."""
    return [
        Past(number, trigger, state, NOW - ago * HOUR, NOW - ago * HOUR + timedelta(minutes=10))
        for number, ago in enumerate(hours_ago)
    ]


def hold(kind: HoldKind) -> Hold:
    """Hold the model."""
    return Hold("m", kind, "ann", "year's end", NOW)


@pytest.mark.parametrize("trigger", list(Trigger))
def test_nothing_is_in_the_way(trigger: Trigger) -> None:
    """The first retraining starts, whatever asks."""
    assert refusal(trigger, NOW, LIMITS, []) is None


@pytest.mark.parametrize("trigger", list(Trigger))
def test_one_at_a_time(trigger: Trigger) -> None:
    """While one is open nothing else starts, not even by hand."""
    running = Past(7, Trigger.CRON, RetrainingState.RUNNING, NOW - HOUR, None)
    said = refusal(trigger, NOW, LIMITS, [running])
    assert said is not None
    assert (said.brake, said.reason) == (Brake.OPEN, "retraining 7 is open")


@pytest.mark.parametrize("trigger", AUTOMATIC)
def test_not_too_soon(trigger: Trigger) -> None:
    """Within the cool-down nothing starts by itself; the reason says until when."""
    said = refusal(trigger, NOW, LIMITS, past(1.0))
    assert said is not None
    assert (said.brake, said.reason) == (Brake.COOLDOWN, "cooling down until 2026-03-01T12:10:00+00:00")
    assert refusal(trigger, NOW + timedelta(minutes=10), LIMITS, past(1.0)) is None


@pytest.mark.parametrize("trigger", AUTOMATIC)
def test_not_too_often(trigger: Trigger) -> None:
    """When the week's budget is spent, the reason says when the oldest of them leaves the week."""
    five = past(60, 70, 80, 90, 100, trigger=Trigger.CRON)
    said = refusal(trigger, NOW, LIMITS, five)
    assert said is not None
    free = five[-1].created_at + WEEK
    assert said.brake is Brake.BUDGET
    assert free.isoformat() in said.reason
    assert refusal(trigger, free, LIMITS, five) is None


@pytest.mark.parametrize("trigger", [Trigger.DRIFT, Trigger.METRIC])
def test_not_in_circles(trigger: Trigger) -> None:
    """Drift that comes back soon after each of some retrainings halts them; other triggers are no sign of it."""
    three = past(24, 48, 72)
    said = refusal(trigger, NOW, LIMITS, three)
    assert said is not None
    assert said.brake is Brake.FLAPPING
    assert "3 retrainings in a row" in said.reason
    assert refusal(Trigger.CRON, NOW, LIMITS, three) is None
    assert refusal(trigger, NOW, LIMITS, past(24, 48, 72, trigger=Trigger.CRON)) is None
    assert refusal(trigger, NOW, LIMITS, three[:2]) is None


def test_what_ends_a_circle() -> None:
    """A world that settled, a retraining that failed, and a person who resumed each begin the count anew."""
    assert cycles(Trigger.DRIFT, NOW, LIMITS.settle, past(24, 48, 72)) == 3
    assert cycles(Trigger.DRIFT, NOW, LIMITS.settle, past(24, 96, 100)) == 1
    assert cycles(Trigger.DRIFT, NOW, LIMITS.settle, past(72, 73)) == 0
    assert cycles(Trigger.DRIFT, NOW, LIMITS.settle, past(24, state=RetrainingState.FAILED)) == 0
    assert cycles(Trigger.DRIFT, NOW, LIMITS.settle, past(24, 48, 72), NOW - 50 * HOUR) == 2


def test_a_persons_pause_outranks_everything() -> None:
    """While a person holds it nothing starts; a halt for flapping is ended by a person who asks for one."""
    for trigger in Trigger:
        said = refusal(trigger, NOW, LIMITS, [], hold(HoldKind.PERSON))
        assert said is not None
        assert (said.brake, said.reason) == (Brake.HELD, "held by ann: year's end")
    for trigger in AUTOMATIC:
        assert refusal(trigger, NOW, LIMITS, [], hold(HoldKind.FLAPPING)) is not None
    assert refusal(Trigger.MANUAL, NOW, LIMITS, past(0.5, 1, 2, 3, 4), hold(HoldKind.FLAPPING)) is None


@given(
    st.lists(
        st.tuples(st.sampled_from([Trigger.DRIFT, Trigger.METRIC, Trigger.CRON, Trigger.ROWS]), st.integers(1, 4_000)),
        min_size=1,
        max_size=60,
    )
)
def test_no_order_of_events_breaks_a_limit(asked: list[tuple[Trigger, int]]) -> None:
    """Whatever asks when: never two at once, never within the cool-down, never over the week's budget."""
    done: list[Past] = []
    now = NOW
    for trigger, minutes in asked:
        now += timedelta(minutes=minutes)
        if refusal(trigger, now, LIMITS, done) is None:
            done.insert(0, Past(len(done), trigger, RetrainingState.DONE, now, now + timedelta(minutes=30)))
    for later, earlier in pairwise(done):
        assert earlier.finished_at is not None
        assert later.created_at >= earlier.finished_at + LIMITS.cooldown
    for one in done:
        assert sum(one.created_at - WEEK < other.created_at <= one.created_at for other in done) <= LIMITS.weekly_budget
