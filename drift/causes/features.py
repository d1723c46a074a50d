"""Rows of both sides as numbers that a tree can split and people can read. What is split: `slices.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drift.engine.arrays import level_name

MOST_FEATURES = 300
"""What columns beyond this many would need is left out: columns come with the largest differences first."""
MOST_LEVELS = 20
"""Categories of a column that get a feature of their own: those whose shares differ most."""
_LARGEST = 1e30
Matrix = NDArray[np.float32]
Kind = Literal["number", "level", "missing", "new"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One number of a row.

    Attributes:
        column: Input that it is made of.
        kind: `number` (the value itself, NaN when missing); or 0 and 1: the value is `level`, is missing, or is one
            that the reference does not have.
        level: The category.
    """

    column: str
    kind: Kind
    level: str = ""


def encode(there: pd.DataFrame, here: pd.DataFrame, names: Sequence[str]) -> tuple[list[Feature], Matrix, Matrix]:
    """Encode both sides alike.

    Args:
        there: Rows of the reference.
        here: Rows of the window.
        names: Columns, the most important first; what either side lacks is passed by.

    Returns:
        The features, and one row of them for each row of both sides.
    """
    features: list[Feature] = []
    left: list[Matrix] = []
    right: list[Matrix] = []
    for name in names:
        if name not in there or name not in here:
            continue
        for feature, a, b in _encoded(name, there[name], here[name]):
            if len(features) == MOST_FEATURES:
                break
            features.append(feature)
            left.append(a)
            right.append(b)
    if not features:
        return [], np.zeros((len(there), 0), np.float32), np.zeros((len(here), 0), np.float32)
    return features, np.column_stack(left), np.column_stack(right)


def is_number(values: "pd.Series[Any]") -> bool:
    """Tell whether a reference column holds numbers; truth values are categories."""
    return bool(pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values))


def as_numbers(values: "pd.Series[Any]") -> NDArray[np.float64]:
    """Give floats, NaN for what is none, and infinity as a very large number."""
    found = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    clipped: NDArray[np.float64] = np.clip(found, -_LARGEST, _LARGEST)
    return clipped


def as_levels(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Give categories as text, `None` for a missing one."""
    plain = values.astype(object)
    return plain.where(plain.notna(), None).map(level_name, na_action="ignore").reset_index(drop=True)


def changed_most(there: "pd.Series[float]", here: "pd.Series[float]") -> list[str]:
    """Name categories by the change of their shares, the largest first."""
    names = sorted({*map(str, there.index), *map(str, here.index)})
    return sorted(names, key=lambda name: -abs(float(here.get(name, 0.0)) - float(there.get(name, 0.0))))


def _encoded(name: str, there: "pd.Series[Any]", here: "pd.Series[Any]") -> list[tuple[Feature, Matrix, Matrix]]:
    found: list[tuple[Feature, Any, Any]] = []
    if is_number(there):
        a, b = as_numbers(there), as_numbers(here)
        found.append((Feature(name, "number"), a, b))
        lacking = np.isnan(a), np.isnan(b)
    else:
        texts = as_levels(there), as_levels(here)
        lacking = texts[0].isna().to_numpy(), texts[1].isna().to_numpy()
        shares = [one.value_counts() / max(1, len(one)) for one in texts]
        frequent = changed_most(*shares)[:MOST_LEVELS]
        found += [
            (Feature(name, "level", level), (texts[0] == level).to_numpy(), (texts[1] == level).to_numpy())
            for level in frequent
        ]
        new = ~texts[1].isin(set(shares[0].index)).to_numpy() & ~lacking[1]
        if new.any() and len(set(shares[1].index) - set(shares[0].index)) > 1:
            found.append((Feature(name, "new"), np.zeros(len(there)), new))
    if any(one.any() for one in lacking) and not all(one.all() for one in lacking):
        found.append((Feature(name, "missing"), *lacking))
    return [(feature, a.astype(np.float32), b.astype(np.float32)) for feature, a, b in found]
