"""A root cause in sentences. What they say is found elsewhere; how it looks on a terminal is `drift/show.py`'s."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from drift.causes.stand_in import LEAST_FIDELITY
from mlflow_ext.domain.root_cause import ColumnCause, Course, DriftSlice, PredictionShift

MOST_COLUMNS = 5
_TOGETHER = timedelta(hours=1)


def headline(columns: Sequence[ColumnCause], found: DriftSlice | None) -> str:
    """Give the one sentence that an alert carries; empty when nothing is known."""
    parts = []
    if found is not None:
        parts.append(_slice(found))
    elif columns:
        parts.append(f"most of it in {columns[0].column}")
    begun = [one for one in columns if one.course is Course.SINCE]
    if begun:
        parts.append(f"{_names([one for one in begun if _near(one, begun[0])])} since {moment(begun[0])}")
    return ", ".join(parts)


def sentences(
    columns: Sequence[ColumnCause], found: DriftSlice | None, prediction: PredictionShift | None
) -> tuple[str, ...]:
    """Tell the whole: which columns, which rows, since when, what it did to predictions."""
    said: list[str] = []
    if columns:
        said.append(_columns(columns))
    if found is not None:
        said += _slice_in_full(found)
    elif columns:
        said.append("Which rows: no part of the rows stands out.")
    said += _courses(columns)
    if prediction is not None:
        said += _predictions(columns, prediction)
    return tuple(said)


def moment(column: ColumnCause) -> str:
    """Give the hour of a change."""
    return "" if column.at is None else f"{datetime.fromisoformat(column.at):%Y-%m-%d %H:%M} UTC"


def _columns(columns: Sequence[ColumnCause]) -> str:
    known = any(one.importance is not None for one in columns)
    told = [
        f"{one.column} ({one.effect:.2f}"
        + (f", importance {one.importance:.0%})" if one.importance is not None else ")")
        for one in columns[:MOST_COLUMNS]
    ]
    more = f" and {len(columns) - MOST_COLUMNS} more" if len(columns) > MOST_COLUMNS else ""
    by = "difference times importance" if known else "difference"
    return f"Which columns, by {by}: {', '.join(told)}{more}."


def _slice(found: DriftSlice) -> str:
    share = f"{_percent(found.window_share)} of the window and {_percent(found.reference_share)} of the reference"
    return f"rows with {' and '.join(found.conditions)} are {share}"


def _slice_in_full(found: DriftSlice) -> list[str]:
    low, high = sorted((found.difference_low * 100, found.difference_high * 100))
    said = f"Which rows: {_slice(found)} (change {low:+.0f} to {high:+.0f} points with 99 %; "
    said += f"{_times(found.lift)} as frequent, {_times(found.lift_low)} to {_times(found.lift_high)})."
    if found.left is None:
        return [said]
    if not found.left:
        return [said, f"Without these rows none of {found.left_of} inputs drifts."]
    names = ", ".join(found.left[:MOST_COLUMNS]) + (", …" if len(found.left) > MOST_COLUMNS else "")
    return [said, f"Without these rows {len(found.left)} of {found.left_of} inputs drift still: {names}."]


def _courses(columns: Sequence[ColumnCause]) -> list[str]:
    said = []
    waiting = [one for one in columns if one.course in (Course.SINCE, Course.UNTIL) and one.at is not None]
    while waiting:
        first = waiting[0]
        group = [one for one in waiting if one.course is first.course and _near(one, first)]
        waiting = [one for one in waiting if one not in group]
        chance = max(one.chance or 0.0 for one in group)
        begun = "Since when" if first.course is Course.SINCE else "Until when"
        said.append(
            f"{begun}: {_names(group)} {first.course.value} {moment(first)} (chance of error {_chance(chance)})."
        )
    for course, told in (
        (Course.GRADUALLY, "gradually, no single hour explains it"),
        (Course.THROUGHOUT, "in all hours alike, or back and forth: no hour begins it"),
        (Course.UNKNOWN, "not known, too few hours with rows"),
    ):
        group = [one for one in columns if one.course is course]
        if group:
            said.append(f"Since when: {_names(group)} {told}.")
    return said


def _predictions(columns: Sequence[ColumnCause], one: PredictionShift) -> list[str]:
    said = f"Predictions: the mean of {one.output} went from {one.reference_mean:.4g} to {one.window_mean:.4g}"
    if one.by_slice is not None:
        said += f"; {one.by_slice:+.3g} of the change {one.shift:+.3g} comes with the share of these rows"
    found = [f"{said}."]
    if one.fidelity is None:
        return found
    if one.together is None:
        found.append(
            "By column: not told, a stand-in learnt from the logged answers explains "
            f"{max(0.0, one.fidelity):.0%} of them, {LEAST_FIDELITY:.0%} are needed."
        )
        return found
    moved = sorted((each for each in columns if each.moved is not None), key=lambda each: -abs(each.moved or 0.0))
    parts = ", ".join(f"{each.column} {each.moved:+.3g}" for each in moved[:MOST_COLUMNS])
    found.append(
        f"By column: {parts}; all else together {one.together:+.3g} "
        f"(by a stand-in learnt from the logged answers, which explains {one.fidelity:.0%} of them)."
    )
    return found


def _near(one: ColumnCause, other: ColumnCause) -> bool:
    return abs(datetime.fromisoformat(one.at or "") - datetime.fromisoformat(other.at or "")) <= _TOGETHER


def _names(columns: Sequence[ColumnCause]) -> str:
    more = f" and {len(columns) - MOST_COLUMNS} more" if len(columns) > MOST_COLUMNS else ""
    return ", ".join(one.column for one in columns[:MOST_COLUMNS]) + more


def _percent(share: float) -> str:
    return f"{share:.0%}" if share == 0 or share >= 0.01 else f"{share:.1%}"


def _times(lift: float) -> str:
    return f"{lift:.0f} times" if lift >= 10 else f"{lift:.2g} times"


def _chance(chance: float) -> str:
    return "under 0.1 %" if chance < 0.001 else f"{chance:.1%}"
