"""Slices that policy names: which rows of a sample are in one, and each compared with the same slice of the reference.

They come from the bounded, seeded samples of both sides: the reference is not read again, nor is the log. Slices that
nobody named, found by a tree, are `causes/slices.py`'s business.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from drift.causes.features import as_levels, as_numbers, is_number
from drift.engine.arrays import level_name
from drift.engine.comparison import Comparison, Examined, examined
from drift.engine.counting import count_file
from drift.engine.profiling import NameOf, profile_of
from drift.engine.rules import Rules
from drift.engine.statistics import Key
from drift.engine.verdict import decide
from mlflow_ext.domain.drift import DriftVerdict, SliceReport
from mlflow_ext.policy import SlicePolicy

MOST_VALUES = 10
"""Slices of a column whose values policy does not name: its most frequent ones in the reference."""
Rows = NDArray[np.bool_]


@dataclass(frozen=True)
class Side:
    """Rows of one side.

    Attributes:
        inputs: The inputs, hashed where the profile is.
        outputs: The predictions, the same rows.
    """

    inputs: pd.DataFrame
    outputs: pd.DataFrame


@dataclass(frozen=True)
class ExaminedSlice:
    """A slice and what was tested about it.

    Attributes:
        told: What is known of it so far.
        tests: Its columns' tests; `None` where nothing could be tested, and `told` says why.
    """

    told: SliceReport
    tests: Examined | None


def slices_of(
    policy: Sequence[SlicePolicy], reference: pd.DataFrame, hashes: Mapping[str, NameOf]
) -> list[tuple[SliceReport, int]]:
    """Name the slices.

    Args:
        policy: Which.
        reference: Sample of the reference's rows, by which ranges and frequent values are found.
        hashes: What gives a value's hash, for the columns that are hashed in samples and log.

    Returns:
        Each slice, with the rows that it needs on either side.
    """
    found: dict[str, tuple[SliceReport, int]] = {}
    for one in policy:
        for part in _parts(one, reference, hashes):
            found.setdefault(part.name, (part, one.minimum_rows))
    return list(found.values())


def rows_in(part: SliceReport, column: "pd.Series[Any]") -> Rows:
    """Tell which rows of a column are in a slice."""
    if part.low is None and part.high is None:
        return np.asarray(as_levels(column) == part.value, dtype=bool)
    numbers = as_numbers(column)
    inside = np.isfinite(numbers)
    if part.low is not None:
        inside &= numbers > part.low
    if part.high is not None:
        inside &= numbers <= part.high
    return np.asarray(inside, dtype=bool)


def examine_slices(
    slices: Sequence[tuple[SliceReport, int]], reference: Side, window: Side, names: Collection[str], rules: Rules
) -> list[ExaminedSlice]:
    """Test every column of each slice against the same slice of the reference.

    Args:
        slices: The slices, with the rows that each needs.
        reference: Its sample.
        window: Its sample.
        names: Inputs that are compared in the whole window.
        rules: What decides.

    Returns:
        One entry a slice; chances are corrected later, for all columns of all slices and of the window together.
    """
    found = []
    for part, least in slices:
        missing = [side for side, one in (("reference", reference), ("log", window)) if part.column not in one.inputs]
        if missing:
            reason = f"the {missing[0]} has no column {part.column}"
            found.append(ExaminedSlice(replace(part, reason=reason), None))
            continue
        sides = [_cut(one, rows_in(part, one.inputs[part.column])) for one in (reference, window)]
        counts = [len(one.inputs) for one in sides]
        part = replace(part, reference_rows=counts[0], window_rows=counts[1])
        if min(counts) < least:
            reason = f"{counts[1]} rows in the window's sample, {counts[0]} in the reference's, {least} are needed"
            found.append(ExaminedSlice(replace(part, reason=reason), None))
            continue
        inputs = [name for name in names if name != part.column and all(name in one.inputs for one in sides)]
        outputs = [str(name) for name in sides[1].outputs if name in sides[0].outputs]
        found.append(ExaminedSlice(part, _tests(sides[0], sides[1], inputs, outputs, rules)))
    return found


def judged(tests: ExaminedSlice, comparison: Comparison | None, rules: Rules) -> SliceReport:
    """Give what a slice says, by the rules that hold for the window."""
    part = tests.told
    if comparison is None:
        return part
    verdict, share, reason = decide(comparison, rules, window_rows=part.window_rows, reference_rows=part.reference_rows)
    columns = tuple(replace(one, measures={}) for one in comparison.columns)
    return replace(part, verdict=verdict, reason=reason, drift_share=share, columns=columns)


def words(slices: Sequence[SliceReport]) -> str:
    """Say which slices drifted; empty when none did."""
    drifted = [one for one in slices if one.verdict is DriftVerdict.DRIFT]
    if not drifted:
        return ""
    named = "; ".join(f"{one.name}: {one.reason}" for one in drifted[:3])
    return f"{len(drifted)} of {len(slices)} slices drifted ({named}{'; …' if len(drifted) > 3 else ''})"


def _parts(policy: SlicePolicy, reference: pd.DataFrame, hashes: Mapping[str, NameOf]) -> list[SliceReport]:
    name = policy.column
    if policy.values:
        named = [hashes[name](value) if name in hashes else level_name(value) for value in policy.values]
        return [SliceReport(name, value) for value in named if value is not None]
    if name not in reference:
        return [SliceReport(name, "(any)")]
    column = reference[name]
    if is_number(column) and column.nunique() > policy.bins:
        return _ranges(name, as_numbers(column), policy.bins)
    frequent = as_levels(column).value_counts().index[:MOST_VALUES]
    return [SliceReport(name, str(value)) for value in frequent]


def _ranges(name: str, numbers: NDArray[np.float64], bins: int) -> list[SliceReport]:
    """Cut at the reference's quantiles; the outer ranges have no end."""
    known = numbers[np.isfinite(numbers)]
    cuts = sorted({float(one) for one in np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1])})
    edges: list[float | None] = [None, *(one for one in cuts if one < known.max()), None]
    found = []
    for low, high in pairwise(edges):
        said = f"> {low:.4g}" if high is None else f"≤ {high:.4g}" if low is None else f"{low:.4g} to {high:.4g}"
        found.append(SliceReport(name, said, low=low, high=high))
    return found


def _cut(side: Side, rows: Rows) -> Side:
    return Side(side.inputs.loc[rows], side.outputs.loc[rows])


def _tests(there: Side, here: Side, inputs: Sequence[str], outputs: Sequence[str], rules: Rules) -> Examined:
    kinds: dict[str, Key] = {name: ("data", name) for name in inputs} | {name: ("prediction", name) for name in outputs}
    tables = [pa.table({name: _array(there, one, name, kinds[name][0]) for name in kinds}) for one in (there, here)]
    profile = profile_of(list(kinds), tables[0].column, source="slice")
    file = BytesIO()
    pq.write_table(tables[1], file)
    file.seek(0)
    return examined(profile, count_file(file, profile, lambda _: kinds), rules)


def _array(reference: Side, side: Side, name: str, kind: str) -> pa.Array:
    there, here = ((one.inputs if kind == "data" else one.outputs)[name] for one in (reference, side))
    if is_number(there):
        return pa.array(pd.to_numeric(here, errors="coerce").to_numpy(dtype=float, na_value=np.nan), from_pandas=True)
    # whatever mixture a column of objects holds, it is compared as categories
    return pa.array(as_levels(here).to_list(), pa.string())
