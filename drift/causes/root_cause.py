"""Why a window drifted: columns, rows, time and predictions put together. Each question has a file of its own.

Asked only about windows whose verdict is drift, on the samples and counts that the check has already.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from drift.causes.features import Matrix, as_levels, encode, is_number
from drift.causes.hours import Hours, timeline
from drift.causes.since import Found, course_of
from drift.causes.slices import FoundSlice, find_slice
from drift.causes.stand_in import Answer, Explained, answer_of, explain
from drift.causes.words import headline, sentences
from drift.engine.comparison import compare
from drift.engine.counting import all_inputs, count_file
from drift.engine.profiling import profile_of
from drift.engine.rules import Rules
from mlflow_ext.domain.drift import ColumnDrift
from mlflow_ext.domain.root_cause import ColumnCause, Course, PredictionShift, RootCause

LEAST_LEFT = 200
"""Rows of each side without which nothing is said about the rest."""
MOST_TIMELINES = 3
_Frames = tuple[pd.DataFrame, pd.DataFrame]


@dataclass(frozen=True)
class Evidence:
    """What a root cause is found in.

    Attributes:
        columns: The check's columns.
        reference: Sample of the reference's rows, inputs and predictions.
        inputs: Sample of the window's inputs, hashed where the reference is.
        outputs: The same rows' predictions.
        hours: The drifted inputs over time.
        rules: By which the window was judged.
    """

    columns: Sequence[ColumnDrift]
    reference: pd.DataFrame
    inputs: pd.DataFrame
    outputs: pd.DataFrame
    hours: Hours
    rules: Rules


def root_cause_of(evidence: Evidence) -> RootCause:
    """Find the root cause of a window that drifted."""
    compared = sorted(
        (one for one in evidence.columns if one.kind == "data" and one.compared),
        key=lambda one: (not one.drifted, -(one.score or 0.0), one.column),
    )
    drifted = [one for one in compared if one.drifted]
    names = [one.column for one in compared]
    features, there, here = encode(evidence.reference, evidence.inputs, names)
    found = find_slice(features, there, here)
    if found is not None:
        found = _with_rest(found, there, here, names, evidence)

    answer = answer_of(evidence.reference, evidence.outputs)
    explained = None
    if answer is not None:
        asked = [one.column for one in drifted]
        explained = explain(evidence.reference, evidence.inputs, answer, names, asked)
    shift = None if answer is None else _shift(answer, explained, found, there, here)
    causes = _ranked(drifted, explained, evidence)
    part = None if found is None else found.told
    return RootCause(headline(causes, part), sentences(causes, part, shift), causes, part, shift)


def _ranked(drifted: Sequence[ColumnDrift], explained: Explained | None, evidence: Evidence) -> tuple[ColumnCause, ...]:
    courses = _courses([one.column for one in drifted], evidence.hours)
    found: list[ColumnCause] = []
    for one in drifted:
        effect, weight = one.score or 0.0, evidence.rules.weights.get(one.column, 1.0)
        importance = None if explained is None else explained.importance.get(one.column)
        moved = None if explained is None else explained.moved.get(one.column)
        course = courses.get(one.column, Found(Course.UNKNOWN))
        found.append(
            ColumnCause(
                column=one.column,
                effect=effect,
                weight=weight,
                importance=importance,
                rank=effect * weight * (1.0 if importance is None else importance),
                moved=moved,
                course=course.course,
                at=None if course.place is None else evidence.hours.at[course.place].isoformat(),
                before=course.before,
                chance=None if course.chance is None else min(1.0, course.chance * max(1, len(courses))),
            )
        )
    # columns that nobody asked the stand-in about come last: those with the smallest differences
    known = any(one.importance is not None for one in found)
    found.sort(key=lambda one: (known and one.importance is None, -one.rank, -one.effect))
    return tuple(
        replace(one, timeline=timeline(evidence.hours, courses[one.column]))
        if place < MOST_TIMELINES and one.column in courses
        else one
        for place, one in enumerate(found)
    )


def _courses(names: Sequence[str], hours: Hours) -> dict[str, Found]:
    known = [name for name in names if name in hours.columns]
    at = np.array([(one - hours.at[0]).total_seconds() / 3600 for one in hours.at])
    found = {}
    for name in known:
        one = hours.columns[name]
        found[name] = course_of(one.reference, one.window, one.counts, at, columns=len(known))
    return found


def _shift(
    answer: Answer, explained: Explained | None, found: FoundSlice | None, there: Matrix, here: Matrix
) -> PredictionShift:
    means = [float(np.nanmean(one)) for one in (answer.there, answer.here)]
    by_slice = None
    if found is not None:
        sides = [(found.of(rows), said) for rows, said in ((there, answer.there), (here, answer.here))]
        by_slice = _by_share(*sides)
    return PredictionShift(
        output=answer.name,
        reference_mean=means[0],
        window_mean=means[1],
        by_slice=by_slice,
        fidelity=None if explained is None else explained.fidelity,
        together=explained.together if explained is not None and explained.moved else None,
    )


def _by_share(there: tuple[np.ndarray, np.ndarray], here: tuple[np.ndarray, np.ndarray]) -> float | None:
    """Give the part of a mean's shift that comes from the share of a slice (Kitagawa 1955, JASA 50, 1168-1194)."""
    shares, gaps = [], []
    for inside, values in (there, here):
        known = np.isfinite(values)
        if not (known & inside).any() and not (known & ~inside).any():
            return None
        shares.append(float(inside[known].mean()))
        parts = [values[known & some] for some in (inside, ~inside)]
        if all(len(part) for part in parts):
            gaps.append(float(parts[0].mean() - parts[1].mean()))
    # where one side has no such rows, the other one's gap stands for both
    return (shares[1] - shares[0]) * sum(gaps) / len(gaps) if gaps else None


def _with_rest(found: FoundSlice, there: Matrix, here: Matrix, names: Sequence[str], evidence: Evidence) -> FoundSlice:
    """Judge the rows outside by the check's own rules."""
    outside = [~found.of(rows) for rows in (there, here)]
    if min(int(one.sum()) for one in outside) < LEAST_LEFT:
        return found
    kept = [name for name in names if name in evidence.reference and name in evidence.inputs]
    frames = (evidence.reference.loc[outside[0], kept], evidence.inputs.loc[outside[1], kept])
    tables = [_table(frames, side) for side in (0, 1)]
    profile = profile_of(kept, tables[0].column, source="without the slice")
    file = BytesIO()
    pq.write_table(tables[1], file)
    file.seek(0)
    compared = compare(profile, count_file(file, profile, all_inputs), evidence.rules).columns
    judged = [one for one in compared if one.compared]
    left = sorted((one for one in judged if one.drifted), key=lambda one: -(one.score or 0.0))
    return replace(found, told=replace(found.told, left=tuple(one.column for one in left), left_of=len(judged)))


def _table(frames: _Frames, side: int) -> pa.Table:
    arrays = {}
    for name in frames[0].columns:
        one = frames[side][name]
        # whatever mixture a column of objects holds, it is compared as categories
        arrays[name] = (
            pa.array(pd.to_numeric(one, errors="coerce").to_numpy(dtype=float, na_value=np.nan))
            if is_number(frames[0][name])
            else pa.array(as_levels(one).to_list(), pa.string())
        )
    return pa.table(arrays)
