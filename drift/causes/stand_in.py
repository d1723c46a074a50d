"""What drifted columns did to predictions, without the model: by a stand-in learnt from the logged answers.

A check loads no model. A boosted tree learns from half of both samples how inputs were answered; what it says counts
only when it explains the other half. Importance is Jansen's estimate of a column's total share of the variance (1999,
Computer Physics Communications 117, 35-43). A column's part in the shift is the mean of two steps: giving the reference
the window's values of it, and taking them from the window (the first and the last step of a Shapley value; compare
Budhathoki et al., "Why did the distribution change?", AISTATS 2021). Both draw the column by itself: how columns go
together is not in them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from drift.causes.features import as_levels, as_numbers, changed_most, is_number
from drift.engine.scale import Floats

MOST_ROWS = 5_000
"""Rows of each side, half of them to learn from."""
MOST_COLUMNS = 100
"""Inputs that the stand-in sees, those with the largest differences first."""
MOST_EXPLAINED = 20
"""Drifted columns whose part is computed."""
MOST_LEVELS = 100
LEAST_FIDELITY = 0.5
"""Of the variance: a stand-in that explains less says nothing about the model."""
_LEAST_ROWS = 200
_SEED = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """One number of the answers, on both sides.

    Attributes:
        name: For words.
        there: The reference's, NaN where there is none, shape (reference rows,).
        here: The window's.
    """

    name: str
    there: Floats
    here: Floats


@dataclass(frozen=True, slots=True)
class Explained:
    """What the stand-in says.

    Attributes:
        fidelity: Share of the variance it explains on rows it has not seen, the smaller of both sides.
        importance: Per column, share of the predictions' variance on the reference that goes with it, 0 to 1.
        moved: Per column, how far its change moved the mean.
        together: The whole shift of the stand-in's mean, less these.
    """

    fidelity: float
    importance: dict[str, float] = field(default_factory=dict)
    moved: dict[str, float] = field(default_factory=dict)
    together: float = 0.0


def answer_of(reference: pd.DataFrame, outputs: pd.DataFrame) -> Answer | None:
    """Choose the number that tells a shift of the answers best: of several outputs the one whose mean moved most.

    Labels become the share of the one whose share changed most.
    """
    found: list[tuple[float, int, Answer]] = []
    for place, name in enumerate(outputs.columns):
        if name not in reference:
            continue
        there, here = reference[name], outputs[name]
        if is_number(there):
            one = Answer(str(name), as_numbers(there), as_numbers(here))
        else:
            a, b = as_levels(there), as_levels(here)
            labels = changed_most(*(some.value_counts(normalize=True) for some in (a, b)))
            if not labels:
                continue
            label = labels[0]
            one = Answer(f"share of {name} = {label}", _share(a, label), _share(b, label))
        if np.isfinite(one.there).any() and np.isfinite(one.here).any():
            spread = float(np.nanstd(one.there)) or 1.0
            # of two that moved alike (a probability and its complement) the later one
            moved = round(abs(float(np.nanmean(one.here) - np.nanmean(one.there))) / spread, 6)
            found.append((moved, place, one))
    return max(found, key=lambda each: each[:2])[2] if found else None


def explain(
    reference: pd.DataFrame, window: pd.DataFrame, answer: Answer, names: Sequence[str], drifted: Sequence[str]
) -> Explained | None:
    """Learn the stand-in and ask it.

    Args:
        reference: The reference's inputs, row by row with `answer.there`.
        window: The window's inputs.
        answer: What was predicted.
        names: Inputs, those with the largest differences first.
        drifted: Those of them whose part is asked for, the same order.

    Returns:
        The answer, without columns when the stand-in is not faithful; `None` when there is too little to learn from.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(_SEED)
    names = [name for name in names if name in reference and name in window][:MOST_COLUMNS]
    known = [np.flatnonzero(np.isfinite(some)) for some in (answer.there, answer.here)]
    if not names or min(len(one) for one in known) < _LEAST_ROWS:
        return None
    drawn = [rng.permutation(one)[:MOST_ROWS] for one in known]
    columns = [coded(reference[name].iloc[drawn[0]], window[name].iloc[drawn[1]]) for name in names]
    there, here = (np.column_stack([one[side] for one in columns]) for side in (0, 1))
    said = answer.there[drawn[0]], answer.here[drawn[1]]
    halves = len(there) // 2, len(here) // 2
    model = HistGradientBoostingRegressor(
        max_iter=100,
        max_leaf_nodes=15,
        early_stopping=False,
        categorical_features=[one[2] for one in columns],
        random_state=_SEED,
    )
    with threadpool_limits(limits=1):
        model.fit(
            np.concatenate([there[: halves[0]], here[: halves[1]]]),
            np.concatenate([said[0][: halves[0]], said[1][: halves[1]]]),
        )
        there, here = there[halves[0] :], here[halves[1] :]
        answers = model.predict(there), model.predict(here)
        fidelity = min(
            _explained(said[0][halves[0] :], answers[0]),
            _explained(said[1][halves[1] :], answers[1]),
        )
        if fidelity < LEAST_FIDELITY:
            return Explained(fidelity)
        importance: dict[str, float] = {}
        moved: dict[str, float] = {}
        variance = float(np.var(answers[0]))
        for name in [one for one in drifted if one in names][:MOST_EXPLAINED]:
            place = names.index(name)

            def swapped(rows: Floats, other: Floats, place: int = place) -> Floats:
                rows = rows.copy()
                rows[:, place] = rng.choice(other[:, place], len(rows))
                found: Floats = model.predict(rows)
                return found

            change = swapped(there, there) - answers[0]
            importance[name] = min(1.0, float(np.mean(change**2)) / (2 * variance)) if variance else 0.0
            gained = float(swapped(there, here).mean() - answers[0].mean())
            lost = float(answers[1].mean() - swapped(here, there).mean())
            moved[name] = (gained + lost) / 2
    whole = float(answers[1].mean() - answers[0].mean())
    return Explained(fidelity, importance, moved, whole - sum(moved.values()))


def _share(levels: "pd.Series[Any]", label: str) -> Floats:
    return np.asarray(levels == label, dtype=np.float64)


def _explained(actual: Floats, predicted: Floats) -> float:
    spread = float(np.var(actual))
    left = float(np.mean((actual - predicted) ** 2))
    if spread <= 1e-12 * max(1.0, float(np.mean(actual**2))):
        # nothing to explain, and it is explained when nothing is left
        return 1.0 if left <= 1e-6 * max(1.0, float(np.mean(actual**2))) else 0.0
    return 1 - left / spread


def coded(there: "pd.Series[Any]", here: "pd.Series[Any]") -> tuple[Floats, Floats, bool]:
    """Give a column of both sides as numbers, or as codes of its most frequent categories with NaN for all others.

    Args:
        there: The reference's values.
        here: The window's.

    Returns:
        Both, and whether these are codes.
    """
    if is_number(there):
        return as_numbers(there), as_numbers(here), False
    a, b = as_levels(there), as_levels(here)
    codes = {level: float(code) for code, level in enumerate(pd.concat([a, b]).value_counts().index[:MOST_LEVELS])}
    left, right = (some.map(codes).to_numpy(dtype=float, na_value=np.nan) for some in (a, b))
    return left, right, True
