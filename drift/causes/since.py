"""Since when a column drifts: one change point over the hours' counts, or the answer that no single one explains it.

Hours are compared along the direction in which window and reference differ (the log ratio of their shares), each hour
weighed by its rows; of all splits the one that leaves least is tested. Hours differ by more than the chance of their
rows: so the variance is taken from the hours themselves, moderated by what rows alone would give (Smyth 2004,
Statistical Applications in Genetics and Molecular Biology 3, 3), more so as an hour resembles the one before it (von
Storch and Zwiers, Statistical Analysis in Climate Research, 1999, 6.6); the test pays for every split (Bonferroni). A
library such as ruptures looks for any number of changes in samples of equal weight and leaves the penalty to its user;
hours are counts of very different sizes, and it is one change with a known chance of error that is to be told.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import f as f_distribution

from drift.engine.levels import LevelCounts
from drift.engine.numbers import NumberCounts
from drift.engine.profile import ColumnProfile
from drift.engine.scale import Floats, Integers
from drift.engine.statistics import Counts
from mlflow_ext.domain.root_cause import Course

ALPHA = 0.01
"""Chance that a point is named for any column although nothing changed."""
LIKE_BEFORE = 0.5
"""A change begins a drift when at most so much of it was there before."""
MOST_LEVELS = 30
"""Categories that are told apart, the most frequent of both sides; all others together."""
LEAST_ROWS = 5
"""Hours with fewer rows than these say nothing by themselves."""
_DAY = 24.0
_LEAST_FOR_WAVES = 16
"""Hours of a day that its cycle has to be seen in."""
_MOST_ALIKE = 0.98
_CHANCE_ALIKE = 1.64
_TRUST = 8.0
"""So many hours' worth of trust that hours vary as their rows do."""


@dataclass(frozen=True, slots=True)
class Found:
    """How a column's drift came.

    Attributes:
        course: In words.
        place: First hour after the change, as its place in the series; `None` without one.
        before: Share of the drift that was there before it.
        chance: Chance that hours without any change look so much like one, not corrected for other columns.
        distances: Each hour's distance, 0 as the reference and 1 as the window, shape (hours,).
    """

    course: Course
    place: int | None = None
    before: float | None = None
    chance: float | None = None
    distances: tuple[float, ...] = ()


def groups_of(profile: ColumnProfile, window: Counts) -> Integers:
    """Say to which group each bin or level of a column belongs.

    Args:
        profile: The reference's column.
        window: The whole window's counts.

    Returns:
        Shape (bins or levels,): ten groups of bins of equal reference counts, each of a few values for itself, or the
        most frequent levels and one group for all others.
    """
    if profile.bins is not None and not profile.bins.few:
        return profile.bins.groups
    there = profile.counts.counts if profile.counts is not None else window.counts
    both = there / max(1, there.sum()) + window.counts / max(1, window.counts.sum())
    if profile.bins is None:
        # what is not named belongs to the others
        both[-1] = 0.0
    order = np.argsort(-both, kind="stable")
    groups = np.full(len(both), min(MOST_LEVELS, len(both) - 1), dtype=np.int64)
    groups[order[:MOST_LEVELS]] = np.arange(min(MOST_LEVELS, len(both)))
    return groups


def grouped(counts: NumberCounts | LevelCounts, groups: Integers) -> Floats:
    """Count rows per group, those without a value last; shape (groups + 1,)."""
    found = np.bincount(groups, counts.counts, minlength=int(groups.max()) + 1)
    return np.append(found, counts.missing).astype(np.float64)


def course_of(reference: Floats, window: Floats, hours: Floats, at: Floats, *, columns: int = 1) -> Found:
    """Tell how a column's drift came.

    Args:
        reference: The reference's rows per group, shape (groups,).
        window: The window's rows per group.
        hours: Rows per group of each hour, by time, shape (hours, groups). Hours before the window may be among them.
        at: When each hour was, counted in hours, ascending, shape (hours,).
        columns: How many columns are asked about: what one costs the others.

    Returns:
        The answer; `unknown` with fewer than three hours of enough rows.
    """
    rows = hours.sum(axis=1)
    used = np.flatnonzero(rows >= LEAST_ROWS)
    direction = _direction(reference, window)
    start, end = (float(some @ direction / some.sum()) for some in (reference, window))
    if len(used) < 3 or end - start <= 0:
        return Found(Course.UNKNOWN)
    weights, values = rows[used], hours[used] @ direction / rows[used]
    distances = np.full(len(rows), np.nan)
    distances[used] = (values - start) / (end - start)
    told = tuple(float(one) for one in distances)

    total = hours[used].sum(axis=0)
    spread = float(total @ direction**2 / total.sum() - (total @ direction / total.sum()) ** 2)
    split = _split(values, weights, at[used])
    freedom = _TRUST + split.freedom / split.inflation
    noise = max(spread, (_TRUST * spread + split.left) / (_TRUST + split.freedom), 1e-300) * split.inflation
    chance = min(1.0, (len(used) - 1) * float(f_distribution.sf(split.gain / noise, 1, freedom)))
    if chance * columns > ALPHA:
        return Found(Course.THROUGHOUT, chance=chance, distances=told)
    if split.is_line:
        return Found(Course.GRADUALLY, chance=chance, distances=told)
    shares = [(one - start) / (end - start) for one in (split.before, split.after)]
    less, more = sorted(shares)
    part = max(0.0, less / more)
    if part > LIKE_BEFORE:
        return Found(Course.THROUGHOUT, chance=chance, distances=told)
    course = Course.SINCE if shares[1] > shares[0] else Course.UNTIL
    return Found(course, int(used[split.place]), part, chance, told)


def _direction(reference: Floats, window: Floats) -> Floats:
    """Give each group's log ratio of shares, window to reference; half a row is put where there is none."""
    p, q = np.maximum(reference, 0.5), np.maximum(window, 0.5)
    found: Floats = np.log(q / q.sum()) - np.log(p / p.sum())
    return found


@dataclass(frozen=True, slots=True)
class _Split:
    """The split that leaves least.

    Attributes:
        place: First hour after it.
        before: Mean before it, without the cycle of the day.
        after: Mean after it, without the cycle.
        gain: Squares that it explains.
        left: Squares that it leaves.
        freedom: Hours, less the numbers that were fitted.
        is_line: Whether a straight line explains the hours better.
        inflation: How many hours count as one, as each resembles the one before it.
    """

    place: int
    before: float
    after: float
    gain: float
    left: float
    freedom: int
    is_line: bool
    inflation: float


def _split(values: Floats, weights: Floats, at: Floats) -> _Split:
    """Split hours in two, beside the cycle of the day where there is a day to see it in."""
    roots = np.sqrt(weights)
    waves = _cycle(at)
    base, weighed = waves * roots[:, None], values * roots
    axes, _ = np.linalg.qr(base)

    rest = weighed - axes @ (axes.T @ weighed)
    # of each split the column that is 1 from its hour on, less what the cycle explains of it: sums from the end
    reach = np.cumsum((axes * roots[:, None])[::-1], axis=0)[::-1][1:]
    sizes = np.cumsum(weights[::-1])[::-1][1:] - (reach**2).sum(axis=1)
    gained = np.cumsum((rest * roots)[::-1])[::-1][1:] ** 2
    gains = np.where(sizes > 1e-9 * weights.sum(), gained / np.maximum(sizes, 1e-300), 0.0)
    best = int(np.argmax(gains))
    whole, gain = float((rest**2).sum()), float(gains[best])
    after = np.arange(len(values)) > best

    design = np.column_stack([base, after * roots])
    fitted, *_ = np.linalg.lstsq(design, weighed, rcond=None)
    inflation = _inflation(weighed - design @ fitted, design.shape[1] + 1)
    cycle = waves[:, 1:] @ fitted[1:-1]
    flat = values - (cycle - np.average(cycle, weights=weights))
    before, later = (float(np.average(flat[some], weights=weights[some])) for some in (~after, after))

    left = max(0.0, whole - gain)
    freedom = max(0, len(at) - base.shape[1] - 1)
    # a line has fewer numbers to fit than a split with the cycle: what is left is compared per freedom
    of_line = [_left(np.column_stack([some, at * roots]), weighed) for some in (base, roots)]
    is_line = left > 0 and min(of_line) < left / max(1, freedom - 1)
    return _Split(best + 1, before, later, gain, left, freedom, is_line, inflation)


def _inflation(rest: Floats, fitted: int) -> float:
    """Give by how much hours that resemble their neighbours say less (first-order autoregression's long-run variance).

    Args:
        rest: What the split leaves of each hour, shape (hours,).
        fitted: How many numbers were fitted.
    """
    size = float((rest**2).sum())
    if size <= 0:
        return 1.0
    hours = len(rest)
    alike = float((rest[1:] * rest[:-1]).sum()) / size
    # each number that was fitted has taken some of it away (Marriott and Pope 1954, Biometrika 41, 390-402)
    alike += (fitted + 3 * alike) / hours
    if alike < _CHANCE_ALIKE / hours**0.5:
        # as much comes by chance where hours do not depend on each other
        return 1.0
    alike = min(alike, _MOST_ALIKE)
    return (1 + alike) / (1 - alike)


def _left(base: Floats, values: Floats) -> float:
    """Give the squares that a fit leaves, per freedom."""
    fitted, *_ = np.linalg.lstsq(base, values, rcond=None)
    squares = float(np.sum((values - base @ fitted) ** 2))
    freedom: int = max(1, len(values) - base.shape[1])
    return squares / freedom


def _cycle(at: Floats) -> Floats:
    """Give a constant, and where the hours span a day, waves of a day and of half a day; shape (hours, 1, 3 or 5)."""
    columns = [np.ones(len(at))]
    for number in (1, 2):
        if at[-1] - at[0] >= number * _DAY - 1 and len(at) >= number * _LEAST_FOR_WAVES:
            turn = 2 * np.pi * number * at / _DAY
            columns += [np.sin(turn), np.cos(turn)]
    return np.column_stack(columns)
