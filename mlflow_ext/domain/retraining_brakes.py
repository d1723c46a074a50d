"""When a retraining may start: one at a time, not too soon, not too often, and not for ever in circles.

Pure rules over what happened so far; who asks, and when, is decided in `drift/triggers.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from mlflow_ext.domain.retraining import Hold, HoldKind, RetrainingState, Trigger

WEEK = timedelta(days=7)
_BY_THE_WORLD = frozenset({Trigger.DRIFT, Trigger.METRIC})


class Brake(StrEnum):
    """What may keep a retraining from starting."""

    HELD = "held"
    OPEN = "open"
    COOLDOWN = "cooldown"
    BUDGET = "budget"
    FLAPPING = "flapping"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much retraining is allowed.

    Attributes:
        cooldown: Time after the end of a retraining in which no other starts by itself.
        weekly_budget: Most retrainings that start in seven days.
        halt_after: So many retrainings in a row that did not settle the world halt it; 0 never.
        settle: A retraining after which drift or a bad metric comes back within this time has settled nothing.
    """

    cooldown: timedelta
    weekly_budget: int
    halt_after: int
    settle: timedelta


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier retraining, as far as it matters here."""

    id: int
    trigger: Trigger
    state: RetrainingState
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no retraining starts."""

    brake: Brake
    reason: str


def refusal(
    trigger: Trigger,
    now: datetime,
    limits: Limits,
    past: Sequence[Past],
    hold: Hold | None = None,
    resumed_at: datetime | None = None,
) -> Refusal | None:
    """Say why a trigger opens no retraining; `None` when it does.

    A person's pause stops everything. A person who asks is stopped by nothing else but a retraining that runs.

    Args:
        trigger: What asks.
        now: The time, by the database's clock.
        limits: The policy's limits.
        past: The model's retrainings, newest first.
        hold: What holds the model's retraining.
        resumed_at: When a person lifted the last hold: circles before that are forgiven.
    """
    by_hand = trigger is Trigger.MANUAL
    if hold is not None and not (by_hand and hold.kind is HoldKind.FLAPPING):
        return Refusal(Brake.HELD, f"held by {hold.actor}: {hold.reason}")
    running = next((one for one in past if one.finished_at is None), None)
    if running is not None:
        return Refusal(Brake.OPEN, f"retraining {running.id} is open")
    if by_hand:
        return None
    ends = max((one.finished_at + limits.cooldown for one in past if one.finished_at is not None), default=now)
    if ends > now:
        return Refusal(Brake.COOLDOWN, f"cooling down until {ends.isoformat(timespec='seconds')}")
    week = [one for one in past if one.created_at > now - WEEK]
    if len(week) >= limits.weekly_budget:
        free = week[limits.weekly_budget - 1].created_at + WEEK
        return Refusal(
            Brake.BUDGET,
            f"the budget of {limits.weekly_budget} in seven days is spent until {free.isoformat(timespec='seconds')}",
        )
    circles = cycles(trigger, now, limits.settle, past, resumed_at)
    if limits.halt_after and circles >= limits.halt_after:
        return Refusal(
            Brake.FLAPPING,
            f"the world did not settle after {circles} retrainings in a row, each followed by drift or a bad metric "
            f"within {limits.settle}: somebody has to look, and resume it",
        )
    return None


def cycles(
    trigger: Trigger, now: datetime, settle: timedelta, past: Sequence[Past], resumed_at: datetime | None = None
) -> int:
    """Count the retrainings in a row, up to now, that the world answered by drifting again.

    Args:
        trigger: What asks now.
        now: When it asks.
        settle: How long a retraining has to hold.
        past: The model's retrainings, newest first.
        resumed_at: Those before this time do not count.
    """
    counted, asked_at, by = 0, now, trigger
    for one in past:
        ended = one.finished_at
        if by not in _BY_THE_WORLD or ended is None or asked_at - ended > settle:
            break
        if one.state is not RetrainingState.DONE or (resumed_at is not None and one.created_at <= resumed_at):
            break
        counted, asked_at, by = counted + 1, one.created_at, one.trigger
    return counted
