"""When a schedule is due: cron text read in a time zone, each slot once, also when the clocks are put back or forward.

The text is croniter's to read. Which slots have become checks is the business of `schedules.py`.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from croniter import croniter

_HOUR = 1


def next_slot(cron: str, timezone: str, after: datetime) -> datetime:
    """Give the first slot after `after`, in UTC.

    Of the hour that comes twice in autumn, a text that names hours takes the first, one for every hour takes both.
    A slot in the hour that is missing in spring is due when the clocks jump.
    """
    return _found(cron, timezone, after, "get_next")


def last_slot(cron: str, timezone: str, now: datetime) -> datetime:
    """Give the last slot before `now`, in UTC."""
    return _found(cron, timezone, now, "get_prev")


def _found(cron: str, timezone: str, start: datetime, step: str) -> datetime:
    zone = ZoneInfo(timezone)
    slots = croniter(cron, start.astimezone(zone))
    every_hour = slots.expanded[_HOUR] == ["*"]
    while True:
        found: datetime = getattr(slots, step)(datetime)
        slot = found.astimezone(UTC)
        # croniter gives both hours when the clocks are put back; its own `fold` says nothing when it looks back
        if every_hour or not slot.astimezone(zone).fold:
            return slot
