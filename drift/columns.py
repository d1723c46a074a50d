"""Which columns can be compared, and as what: a guard before Evidently, which one bad column costs the whole report.

The comparison itself is `evidently_report.py`'s, what follows from it `verdict.py`'s.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from mlflow_ext.domain.drift import ColumnDrift

MISSING_CHANGE = 0.1
"""A share of missing values that changed by this much is drift; Evidently drops missing values before it compares."""
FEW_VALUES = 5
"""Numbers with at most so many different values are compared as categories."""
MOST_LEVELS = 30
"""More categories than these are pooled: rare levels carry no information, and thousands take Evidently minutes."""
LEAST_EXPECTED = 5.0
"""A category expected fewer times than this in the smaller of the two samples is pooled."""
POOLED = "(other)"

Kind = Literal["data", "prediction"]
Values = "pd.Series[Any]"


@dataclass(frozen=True, slots=True)
class Comparable:
    """A column that both sides have, in NumPy types.

    Attributes:
        name: Name for people.
        kind: `data` or `prediction`.
        categorical: Text levels if so, else 64-bit floats.
        reference: The reference's values, without missing ones.
        current: The window's values, without missing ones.
    """

    name: str
    kind: Kind
    categorical: bool
    reference: "pd.Series[Any]"
    current: "pd.Series[Any]"


def guard(
    reference: pd.DataFrame, current: pd.DataFrame, kind: Kind, ignore: Collection[str] = ()
) -> tuple[list[Comparable], list[ColumnDrift]]:
    """Sort the window's columns into those to compare and those already decided.

    Args:
        reference: Reference rows; columns that the window does not have are passed by.
        current: The window's rows.
        kind: What the columns are.
        ignore: Columns that the policy leaves out.

    Returns:
        Columns to compare; and columns decided here, because they cannot be compared or their missing share changed.
    """
    comparable: list[Comparable] = []
    decided: list[ColumnDrift] = []
    for name in current.columns:
        if name in ignore:
            continue
        if name not in reference.columns:
            decided.append(_not_compared(name, kind, "the reference has no such column"))
            continue
        found = _compare(name, kind, reference[name], current[name])
        if isinstance(found, Comparable):
            comparable.append(found)
        else:
            decided.append(found)
    return comparable, decided


def _compare(name: str, kind: Kind, reference: Any, current: Any) -> Comparable | ColumnDrift:
    if pd.api.types.is_datetime64_any_dtype(reference) or pd.api.types.is_datetime64_any_dtype(current):
        return _not_compared(name, kind, "times move on by nature")
    categorical = False
    try:
        there, here = _numbers(reference), _numbers(current)
    except (TypeError, ValueError):
        categorical = True
        there, here = _levels(reference), _levels(current)
    missing_there, missing_here = float(there.isna().mean()), float(here.isna().mean())
    if missing_there == 1.0 == missing_here:
        return _not_compared(name, kind, "neither side has a value")
    change = abs(missing_here - missing_there)
    if change >= MISSING_CHANGE:
        note = f"{missing_here:.0%} missing, {missing_there:.0%} in the reference"
        return ColumnDrift(name, kind, "missing_share", change, MISSING_CHANGE, True, note)
    there, here = there.dropna(), here.dropna()
    if there.empty or here.empty:
        return _not_compared(name, kind, "one side has hardly a value")
    if not categorical and len(np.union1d(there.unique(), here.unique())) <= FEW_VALUES:
        categorical, there, here = True, _levels(there), _levels(here)
    if categorical:
        there, here = _pooled(there, here)
        if set(there.unique()) == {POOLED} == set(here.unique()):
            return _not_compared(
                name, kind, "nearly every value is different, like an identifier; see policy drift.ignore"
            )
    return Comparable(name, kind, categorical, there.reset_index(drop=True), here.reset_index(drop=True))


def _numbers(values: Any) -> "pd.Series[Any]":
    """Give 64-bit floats, infinity as missing.

    Raises:
        ValueError, TypeError: They are not numbers; truth values are levels.
    """
    kept = values.dropna()
    if pd.api.types.is_bool_dtype(kept) or (
        kept.dtype == object and kept.map(lambda value: isinstance(value, bool)).any()
    ):
        raise TypeError("truth values")
    numbers = pd.to_numeric(values).astype("float64")
    return pd.Series(np.asarray(numbers, dtype="float64")).replace([np.inf, -np.inf], np.nan)


def _levels(values: Any) -> "pd.Series[Any]":
    """Give text levels: 1, 1.0 and the text of it are one level, as are True and `true`."""

    def level(value: Any) -> str:
        if isinstance(value, bool | np.bool_):
            return str(bool(value)).lower()
        if isinstance(value, int | float | np.number):
            return format(float(value), ".10g")
        return str(value)

    return pd.Series([None if pd.isna(value) else level(value) for value in values.astype(object)], dtype=object)


def _pooled(there: "pd.Series[Any]", here: "pd.Series[Any]") -> tuple["pd.Series[Any]", "pd.Series[Any]"]:
    counts = pd.DataFrame({"there": there.value_counts(), "here": here.value_counts()}).fillna(0)
    share = counts.sum(axis=1) / (len(there) + len(here))
    frequent = share[share * min(len(there), len(here)) >= LEAST_EXPECTED].nlargest(MOST_LEVELS - 1)
    kept = set(frequent.index)
    pooled = counts.loc[~counts.index.isin(kept)].sum()
    if kept and pooled["there"] == 0 < pooled["here"] < LEAST_EXPECTED:
        # a handful of values that the reference never had: with the smallest level they count, alone they would decide
        kept.discard(frequent.index[-1])
    return there.where(there.isin(kept), POOLED), here.where(here.isin(kept), POOLED)


def _not_compared(name: str, kind: Kind, note: str) -> ColumnDrift:
    return ColumnDrift(name, kind, "not_compared", None, None, False, note)
