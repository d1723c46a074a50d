"""Which segments of a model may go: too old, or more than there is room for; never what a window still needs.

Asking and removing lives in `drift/retention.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mlflow_ext.domain.segments import Segment


@dataclass(frozen=True, slots=True)
class Expired:
    """What is to go, and what should but may not.

    Attributes:
        segments: Segments to remove.
        over_bytes: By how much the others are still larger than there is room for, because windows need them.
    """

    segments: tuple[Segment, ...]
    over_bytes: int = 0


def expired(
    stored: Sequence[Segment],
    now: datetime,
    *,
    keep_s: float | None,
    keep_bytes: int | None,
    needed_since: datetime,
) -> Expired:
    """Choose the segments of one model that may go, oldest first.

    Args:
        stored: All of them.
        now: The time.
        keep_s: Age of the last row at which a segment goes; `None` for never.
        keep_bytes: Most bytes that all of them may have; `None` for no bound.
        needed_since: Segments with a row since then stay, whatever the bounds say.
    """
    # a span longer than the calendar is for ever
    keep_since = None if keep_s is None else _before(now, keep_s)
    size = sum(one.size_bytes for one in stored)
    gone: list[Segment] = []
    for one in sorted(stored, key=lambda segment: (segment.last_at, segment.uri)):
        if one.last_at >= needed_since:
            break
        if (keep_since is not None and one.last_at < keep_since) or (keep_bytes is not None and size > keep_bytes):
            gone.append(one)
            size -= one.size_bytes
    return Expired(tuple(gone), max(0, size - keep_bytes) if keep_bytes is not None else 0)


def _before(now: datetime, seconds: float) -> datetime:
    try:
        return now - timedelta(seconds=seconds)
    except OverflowError:
        return datetime.min.replace(tzinfo=now.tzinfo)
