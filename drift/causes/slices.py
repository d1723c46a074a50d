"""Which rows: the node of a shallow tree whose share of the rows changed most, measured on rows the tree has not seen.

After the tree of Breiman, Friedman, Olshen and Stone (CART, 1984) as scikit-learn grows it, told window from reference;
intervals by Newcombe (1998, Statistics in Medicine 17, 873-890, method 10) and Katz et al. (1978, Biometrics 34).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from drift.causes.features import Feature, Matrix
from mlflow_ext.domain.root_cause import DriftSlice

MOST_ROWS = 10_000
"""Rows of each side that are looked at, half of them to find the slice and half to measure it."""
DEPTH = 3
LEAST_SHARE = 0.05
"""A slice is at least so large on one side, and its share changes by more than this, or it is not told."""
WORTH_A_CONDITION = 0.02
"""One more condition must add so much to the change of the share: shorter is clearer."""
WORTH_BEING_RARE = 0.05
"""What came, or a small part that went, says more than what most rows of the reference are."""
_SEED = 0
_Z = 2.5758
"""Of the 99 % interval of the lift."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on one feature.

    Attributes:
        place: Which feature.
        feature: The same, for words.
        above: Whether the feature has to be above the bound; else at most the bound.
        bound: The bound.
        missing: Whether rows without a value are in.
    """

    place: int
    feature: Feature
    above: bool
    bound: float
    missing: bool

    def of(self, rows: Matrix) -> Mask:
        """Tell which rows fulfil it."""
        values = rows[:, self.place]
        inside: Mask = (values > self.bound) if self.above else (values <= self.bound)
        return inside | np.isnan(values) if self.missing else inside

    def words(self) -> str:
        """Say it."""
        name = _short(self.feature.column)
        match self.feature.kind:
            case "number":
                said = f"{name} {'>' if self.above else '≤'} {self.bound:.4g}"
                return f"({said} or missing)" if self.missing else said
            case "level":
                return f"{name} {'=' if self.above else '≠'} {_short(self.feature.level)}"
            case "missing":
                return f"{name} is {'missing' if self.above else 'there'}"
            case "new":
                return f"{name} is {'none' if self.above else 'one'} of the reference's values"


@dataclass(frozen=True, slots=True)
class FoundSlice:
    """A slice and how to recognise its rows."""

    told: DriftSlice
    conditions: tuple[Condition, ...]

    def of(self, rows: Matrix) -> Mask:
        """Tell which rows are in it."""
        return inside(self.conditions, rows)


def find_slice(features: Sequence[Feature], there: Matrix, here: Matrix) -> FoundSlice | None:
    """Find the rows whose share changed most.

    Args:
        features: What the columns of both matrices are.
        there: Rows of the reference, in any order.
        here: Rows of the window.

    Returns:
        The slice; `None` when none has a share that surely changed by more than `LEAST_SHARE`.
    """
    if not features or min(len(there), len(here)) < 4 / LEAST_SHARE:
        return None
    rng = np.random.default_rng(_SEED)
    there, here = (rows[rng.permutation(len(rows))[:MOST_ROWS]] for rows in (there, here))
    halves = len(there) // 2, len(here) // 2
    chosen = _choose(features, there[: halves[0]], here[: halves[1]])
    if chosen is None:
        return None
    told = _measured(chosen, there[halves[0] :], here[halves[1] :])
    sure = max(told.difference_low, -told.difference_high)
    return FoundSlice(told, chosen) if sure > LEAST_SHARE else None


def inside(conditions: Sequence[Condition], rows: Matrix) -> Mask:
    """Tell which rows fulfil all conditions."""
    found: Mask = np.ones(len(rows), dtype=bool)
    for one in conditions:
        found &= one.of(rows)
    return found


def _choose(features: Sequence[Feature], there: Matrix, here: Matrix) -> tuple[Condition, ...] | None:
    from sklearn.tree import DecisionTreeClassifier
    from threadpoolctl import threadpool_limits

    rows = np.concatenate([there, here])
    sides = np.repeat([0, 1], [len(there), len(here)])
    tree = DecisionTreeClassifier(
        max_depth=DEPTH, min_weight_fraction_leaf=LEAST_SHARE / 2, class_weight="balanced", random_state=_SEED
    )
    with threadpool_limits(limits=1):
        tree.fit(rows, sides)
    best: tuple[Condition, ...] | None = None
    most = 0.0
    holes = np.isnan(rows).any(axis=0)
    for path in sorted(_paths(tree.tree_, features, holes), key=len):
        here_share, there_share = (float(inside(path, some).mean()) for some in (here, there))
        change = abs(here_share - there_share)
        if max(here_share, there_share) < LEAST_SHARE:
            continue
        # of a split's two sides, which change alike, the one that the reference has less of
        worth = change + (WORTH_BEING_RARE if there_share <= 0.5 else 0.0)
        if best is None or worth > most + WORTH_A_CONDITION * (len(path) - len(best)) + 1e-9:
            best, most = path, worth
    return best


def _paths(tree: Any, features: Sequence[Feature], holes: Mask) -> list[tuple[Condition, ...]]:
    """Give the conditions of every node but the root, each bound as it will be told.

    Args:
        tree: As scikit-learn keeps it.
        features: What its numbers are.
        holes: Which of them have missing values.
    """
    found: list[tuple[Condition, ...]] = []

    def go_down(node: int, path: tuple[Condition, ...]) -> None:
        if path:
            found.append(_simplified(path))
        if tree.children_left[node] < 0:
            return
        place = int(tree.feature[node])
        feature = features[place]
        bound = float(f"{tree.threshold[node]:.4g}") if feature.kind == "number" else 0.5
        for above, child in ((False, tree.children_left[node]), (True, tree.children_right[node])):
            missing = bool(holes[place]) and bool(tree.missing_go_to_left[node]) != above
            go_down(int(child), (*path, Condition(place, feature, above, bound, missing)))

    go_down(0, ())
    return found


def _simplified(path: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """Keep the tightest of several bounds on one side of one feature; a category that is given says what it is not."""
    kept: dict[tuple[int, bool], Condition] = {}
    for one in path:
        key = (one.place, one.above)
        other = kept.get(key)
        if other is None:
            kept[key] = one
            continue
        bound = max(one.bound, other.bound) if one.above else min(one.bound, other.bound)
        kept[key] = Condition(one.place, one.feature, one.above, bound, one.missing and other.missing)
    given = {one.feature.column for one in kept.values() if one.feature.kind == "level" and one.above}
    return tuple(
        one
        for one in kept.values()
        if not (one.feature.column in given and not one.above and one.feature.kind in ("level", "missing", "new"))
    )


def _measured(conditions: tuple[Condition, ...], there: Matrix, here: Matrix) -> DriftSlice:
    n, m = len(there), len(here)
    a, b = int(inside(conditions, there).sum()), int(inside(conditions, here).sum())
    p, q = a / n, b / m
    intervals = [binomtest(count, rows).proportion_ci(0.99, method="wilson") for count, rows in ((a, n), (b, m))]
    lows, highs = zip(*intervals, strict=True)
    change = q - p
    low = change - math.hypot(q - lows[1], highs[0] - p)
    high = change + math.hypot(highs[1] - q, p - lows[0])
    # half a row is added, so that a share of nothing has a lift
    ratio = ((b + 0.5) / (m + 1)) / ((a + 0.5) / (n + 1))
    spread = math.sqrt(max(0.0, 1 / (b + 0.5) - 1 / (m + 1) + 1 / (a + 0.5) - 1 / (n + 1)))
    return DriftSlice(
        conditions=tuple(one.words() for one in conditions),
        window_share=q,
        reference_share=p,
        difference_low=low,
        difference_high=high,
        lift=ratio,
        lift_low=ratio * math.exp(-_Z * spread),
        lift_high=ratio * math.exp(_Z * spread),
    )


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:39] + "…"
