"""The drifted columns hour by hour, from the counts kept of segments. What follows from them: `since.py`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import numpy as np

from drift.causes.since import Found, grouped, groups_of
from drift.engine.profile import ReferenceProfile
from drift.engine.scale import Floats
from drift.engine.statistics import WindowStatistics

LOOK_BACK = timedelta(days=7)
"""Hours before the window that are looked at, as far as checks of before have counted them."""
MOST_POINTS = 240
"""Of a time line; more hours than these are put together."""
T = TypeVar("T")


class KeptHours(Protocol):
    """A window whose hours were counted, and the hours before it (`window.WindowLog`)."""

    def kept_hours(
        self, profile: ReferenceProfile, look_back: timedelta, take: Callable[[WindowStatistics], T]
    ) -> list[tuple[datetime, T]]:
        """Give each hour, and what is wanted of its statistics.

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class ColumnHours:
    """One column over time.

    Attributes:
        reference: The reference's rows per group, shape (groups,).
        window: The window's.
        counts: Each hour's, shape (hours, groups).
    """

    reference: Floats
    window: Floats
    counts: Floats


@dataclass(frozen=True)
class Hours:
    """Some columns over time.

    Attributes:
        at: Beginning of each hour, UTC, ascending.
        columns: By name.
    """

    at: tuple[datetime, ...] = ()
    columns: dict[str, ColumnHours] = field(default_factory=dict)


def hours_of(log: KeptHours, profile: ReferenceProfile, window: WindowStatistics, names: Sequence[str]) -> Hours:
    """Give columns hour by hour, of the window and of what is kept of the days before it.

    Args:
        log: The window.
        profile: The reference.
        window: The whole window's statistics.
        names: Input columns.

    Raises:
        UnavailableError: PostgreSQL does not answer.
    """
    groups = {}
    for name in names:
        column, counts = profile.columns.get(name), window.columns.get(("data", name))
        if column is not None and column.counts is not None and counts is not None:
            groups[name] = (column.counts, counts, groups_of(column, counts))

    def reduced(one: WindowStatistics) -> dict[str, Floats]:
        # a week of full statistics would be gigabytes with many columns
        found = {}
        for name, (_, _, places) in groups.items():
            mine = one.columns.get(("data", name))
            if mine is not None:
                found[name] = grouped(mine, places)
        return found

    series: dict[datetime, dict[str, Floats]] = {}
    for hour, part in log.kept_hours(profile, LOOK_BACK, reduced):
        mine = series.setdefault(hour, {})
        for name, some in part.items():
            mine[name] = mine[name] + some if name in mine else some
    at = tuple(sorted(series))
    columns = {}
    for name, (reference, whole, places) in groups.items():
        nothing = np.zeros(int(places.max()) + 2)
        counted = np.array([series[hour].get(name, nothing) for hour in at]) if at else np.zeros((0, len(nothing)))
        columns[name] = ColumnHours(grouped(reference, places), grouped(whole, places), counted)
    return Hours(at, columns)


def timeline(hours: Hours, found: Found) -> tuple[tuple[str, float], ...]:
    """Give a column's distances for the picture, hours put together where there are many."""
    step = math.ceil(len(found.distances) / MOST_POINTS) or 1
    points = []
    for begin in range(0, len(found.distances), step):
        some = [one for one in found.distances[begin : begin + step] if math.isfinite(one)]
        if some:
            points.append((hours.at[begin].isoformat(), round(sum(some) / len(some), 3)))
    return tuple(points)
