"""Drift that no single column shows: how columns go together, on bounded samples of rows.

Both methods give each row a number and compare the numbers of reference and window by their ranks. Columns by
themselves are compared from counts: `comparison.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from drift.engine.scale import Floats

MOST_ROWS = 5_000
"""Rows of each side that are looked at."""
MOST_LEVELS = 10
"""Categories of a column that get a place of their own."""
_KEPT_VARIANCE = 0.8
_LARGEST = 5.0
_SEED = 0


@dataclass(frozen=True)
class Multivariate:
    """What a method found.

    Attributes:
        method: `pca` or `classifier`.
        area: Chance that a row of the window has the larger number, 0 to 1; 0.5 without drift.
        p_value: Chance of an area as far from 0.5 without drift.
    """

    method: str
    area: float
    p_value: float

    @property
    def effect(self) -> float:
        """How far both are apart, 0 to 1."""
        return abs(2 * self.area - 1)


def measure(methods: Sequence[str], reference: pd.DataFrame, window: pd.DataFrame) -> list[Multivariate]:
    """Compare samples of rows.

    Args:
        methods: `pca` (what the reference's main components do not explain of a row; milliseconds) and `classifier`
            (a boosted tree tells window from reference, judged on rows it has not seen; a second).
        reference: Rows of the reference.
        window: Rows of the window; columns that both have are used.

    Returns:
        One answer a method; none when there is nothing to compare.
    """
    names = [name for name in window.columns if name in reference.columns]
    if len(names) < 2 or min(len(reference), len(window)) < 2 * len(names):
        return []
    rng = np.random.default_rng(_SEED)
    there, here = (
        rows[names].iloc[rng.permutation(len(rows))[:MOST_ROWS]].reset_index(drop=True) for rows in (reference, window)
    )
    both = _matrix(there, here)
    functions = {"pca": _pca, "classifier": _classifier}
    return [_ranked(method, *functions[method](*both)) for method in methods]


def _pca(there: Floats, here: Floats) -> tuple[Floats, Floats]:
    """Give reconstruction errors; those of the reference are of rows that the components were not fitted to."""
    half = len(there) // 2
    centre = there[:half].mean(axis=0)
    _, values, axes = np.linalg.svd(there[:half] - centre, full_matrices=False)
    explained = np.cumsum(values**2) / max(float((values**2).sum()), 1e-300)
    kept = axes[: min(int(np.searchsorted(explained, _KEPT_VARIANCE)) + 1, max(1, len(axes) - 1))]

    def errors(rows: Floats) -> Floats:
        moved = rows - centre
        found: Floats = ((moved - moved @ kept.T @ kept) ** 2).sum(axis=1)
        return found

    return errors(there[half:]), errors(here)


def _classifier(there: Floats, here: Floats) -> tuple[Floats, Floats]:
    """Give the probability of being the window's, from a model that has not seen the row."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    half = (len(there) // 2, len(here) // 2)
    rows = np.concatenate([there[: half[0]], here[: half[1]]])
    sides = np.repeat([0, 1], half)
    # sides of different sizes count the same
    weights = np.where(sides == 0, len(sides) / max(half[0], 1), len(sides) / max(half[1], 1))
    model = HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=15, early_stopping=False, random_state=_SEED)
    # a check is one of many things on its machine: more threads than one wait for each other
    with threadpool_limits(limits=1):
        model.fit(rows, sides, sample_weight=weights)
    return model.predict_proba(there[half[0] :])[:, 1], model.predict_proba(here[half[1] :])[:, 1]


def _ranked(method: str, there: Floats, here: Floats) -> Multivariate:
    n, m = len(there), len(here)
    together = np.concatenate([there, here])
    _, places, counts = np.unique(together, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    wins = float(ranks[n:].sum()) - m * (m + 1) / 2
    rows = n + m
    ties = float((counts.astype(float) ** 3 - counts).sum()) / (rows * (rows - 1.0))
    variance = n * m / 12 * (rows + 1 - ties)
    z = abs(wins - n * m / 2) / math.sqrt(variance) if variance > 0 else 0.0
    return Multivariate(method, wins / (n * m), math.erfc(z / math.sqrt(2)))


def _matrix(there: pd.DataFrame, here: pd.DataFrame) -> tuple[Floats, Floats]:
    """Give both as numbers, by the reference's own centre and spread; a missing value is the centre, and told apart."""
    left: list[Floats] = []
    right: list[Floats] = []
    for name in there.columns:
        for a, b in _columns(there[name], here[name]):
            spread = float(a.std())
            if spread > 0 or float(np.std(b)) > 0:
                left.append((a - a.mean()) / (spread or 1.0))
                right.append((b - a.mean()) / (spread or 1.0))
    if not left:
        return np.zeros((len(there), 1)), np.zeros((len(here), 1))
    return tuple(np.clip(np.column_stack(some), -_LARGEST, _LARGEST) for some in (left, right))  # type: ignore[return-value]


def _columns(there: "pd.Series[Any]", here: "pd.Series[Any]") -> list[tuple[Floats, Floats]]:
    if pd.api.types.is_numeric_dtype(there) and not pd.api.types.is_bool_dtype(there):
        a = pd.to_numeric(there).to_numpy(dtype=float, na_value=np.nan)
        b = pd.to_numeric(here, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        known = a[np.isfinite(a)]
        if not len(known):
            return []
        lower, centre, upper = np.quantile(known, [0.01, 0.5, 0.99])
        found = []
        for some in (a, b):
            filled = np.where(np.isnan(some), centre, some)
            found.append(np.clip(filled, lower, upper))
        columns = [(found[0], found[1])]
        if np.isnan(a).any() or np.isnan(b).any():
            columns.append((np.isnan(a).astype(float), np.isnan(b).astype(float)))
        return columns
    a_text, b_text = there.astype(str).to_numpy(), here.astype(str).to_numpy()
    levels = pd.Series(a_text).value_counts().index[:MOST_LEVELS]
    return [((a_text == one).astype(float), (b_text == one).astype(float)) for one in levels]
