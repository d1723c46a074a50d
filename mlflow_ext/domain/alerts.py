"""An alert: what somebody should know about a model, from the time it begins to the time it is over; when it is told.

How it travels lives in `drift/channels/`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

SEVERITIES = ("warning", "critical")


class AlertState(StrEnum):
    """It fires while the last check saw what it is about; a check that does not see it any more resolves it."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode. While it fires there is no other of its model and kind.

    Attributes:
        id: Number of the alert.
        model: Registered model.
        version: Version concerned.
        kind: What it is about: `drift`, `performance` or `retraining_halted`.
        state: Whether it goes on.
        check_id: Newest drift check that saw it; `None` where none did.
        severity: `warning` or `critical`.
        message: One sentence for people: the reason.
        seen: Number of checks that saw it.
        notified: State that people were told of last; `None` when they were never told.
        notified_at: When.
        notices: How often they were told.
        created_at: When it began.
        last_seen_at: When a check saw it last.
        resolved_at: When it was over.
        run_id: MLflow run of the newest check that saw it, once MLflow has it.
        details: The report behind it, JSON-ready.
        picture: PNG of the report; `None` until it is drawn.
    """

    id: int
    model: str
    version: int | None
    kind: str
    state: AlertState
    check_id: int | None
    severity: str
    message: str
    seen: int
    notified: AlertState | None
    notified_at: datetime | None
    notices: int
    created_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None
    run_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    picture: bytes | None = None

    @property
    def subject(self) -> str:
        """Name the model, and the version where it is about one."""
        return self.model if self.version is None else f"{self.model} version {self.version}"

    @property
    def fingerprint(self) -> str:
        """Name what the alert is about: the same in each of its episodes; 16 hexadecimal digits."""
        return sha256(f"{self.kind}\x00{self.model}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Told:
    """One alert in a message, with the state that the message tells of."""

    alert: Alert
    state: AlertState


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to one channel.

    Attributes:
        id: The same in every attempt.
        channel: Where it goes.
        group: What its alerts have in common: `kind=drift`, `model=wine`, or nothing.
        told: The alerts.
    """

    id: int
    channel: str
    group: str
    told: tuple[Told, ...]

    @property
    def state(self) -> AlertState:
        """Firing when any of its alerts is."""
        firing = any(one.state is AlertState.FIRING for one in self.told)
        return AlertState.FIRING if firing else AlertState.RESOLVED

    @property
    def severity(self) -> str:
        """Give the highest of its alerts."""
        return max((one.alert.severity for one in self.told), key=SEVERITIES.index)


class Telling(StrEnum):
    """What to do about an alert now: tell people, wait, or never mind since they were never told that it began."""

    TELL = "tell"
    WAIT = "wait"
    FORGET = "forget"


def telling(
    alert: Alert,
    now: datetime,
    *,
    severity: str,
    told_before: datetime | None,
    cooldown_s: float,
    repeat_s: float | None,
    run_wait_s: float,
) -> Telling:
    """Decide whether people are told of an alert's state.

    Args:
        alert: The alert.
        now: The time.
        severity: What it is now, by policy.
        told_before: When people were last told of an earlier episode.
        cooldown_s: Seconds after that in which a new episode is not told: what flaps is told once.
        repeat_s: Seconds after which one that goes on is told again; `None` for never.
        run_wait_s: Seconds that a new one waits for its MLflow run, which it links to.
    """
    if alert.state is AlertState.RESOLVED:
        match alert.notified:
            case None:
                return Telling.FORGET
            case AlertState.FIRING:
                return Telling.TELL
            case _:
                return Telling.WAIT
    if alert.notified is None or alert.notified_at is None:
        if told_before is not None and now < told_before + timedelta(seconds=cooldown_s):
            return Telling.WAIT
        unlinked = (
            alert.check_id is not None
            and alert.run_id is None
            and now < alert.created_at + timedelta(seconds=run_wait_s)
        )
        return Telling.WAIT if unlinked else Telling.TELL
    if alert.last_seen_at <= alert.notified_at:
        return Telling.WAIT
    if SEVERITIES.index(severity) > SEVERITIES.index(alert.severity):
        return Telling.TELL
    again = repeat_s is not None and now >= alert.notified_at + timedelta(seconds=repeat_s)
    return Telling.TELL if again else Telling.WAIT
