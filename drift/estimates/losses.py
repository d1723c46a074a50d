"""Performance without labels of regressors: the loss that inputs and answer are known for, learnt from the reference.

Direct loss estimation (DLE) as NannyML's documentation describes it: a regressor learns from the reference how large
the model's error is for which inputs and answer; what it says of a window's rows, on average, is the error to be
expected. Where inputs moved far it errs, for it has seen few such rows; so what it gets wrong on rows of the reference
that it has not seen is added, each row counted as often as such rows come in the window (Reddi, Poczos and Smola,
"Doubly robust covariate shift correction", AAAI 2015), with models fitted crosswise (Chernozhukov et al., 2018).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from drift.causes.features import as_numbers, is_number
from drift.causes.stand_in import coded
from drift.engine.scale import Floats
from drift.estimates.estimate import INSIDE
from drift.reference import spread

LEAST_LABELS = 300
"""In the reference: a tree's leaf holds 20 rows."""
LEAST_ALIKE = 100
"""Rows that the reference's are worth when they are weighed like the window's: (sum of weights)^2 / sum of squares."""
MOST_ROWS = 5_000
"""Of each side; with the numbers below a check spends about a second of a processor."""
MOST_COLUMNS = 100
FOLDS = 5
MOST_BEYOND = 0.5
"""Share of a window's rows with a number outside the reference's range: of more of them nothing was learnt."""
_NAMED = 3
_ANSWER = "prediction"
_LOSSES = {"mean_absolute_error": 1, "root_mean_squared_error": 2}
"""By metric, the power of the error."""
_TREES: dict[str, Any] = {
    "max_iter": 30,
    "learning_rate": 0.2,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 10,
    "early_stopping": False,
}


@dataclass(frozen=True, slots=True)
class _Sides:
    """Both sides as numbers.

    Attributes:
        there: The reference's rows, shape (rows, columns).
        here: The window's.
        categories: Which columns are codes.
        folds: Number of each reference row's fold.
    """

    there: Floats
    here: Floats
    categories: list[bool]
    folds: NDArray[np.int64]

    def likeness(self) -> Floats:
        """Say how many times as often each row of the reference comes in the window."""
        rows = np.concatenate([self.there, self.here])
        is_here = np.repeat([0, 1], [len(self.there), len(self.here)])
        # folds of the window's rows do not matter: none of them is asked about
        folds = np.concatenate([self.folds, np.resize(np.arange(FOLDS), len(self.here))])
        found = np.empty(len(self.there))
        for fold in range(FOLDS):
            model = HistGradientBoostingClassifier(categorical_features=self.categories, **_TREES)
            model.fit(rows[folds != fold], is_here[folds != fold])
            chance = np.clip(model.predict_proba(self.there[self.folds == fold])[:, 1], 1e-6, 1 - 1e-6)
            found[self.folds == fold] = chance / (1 - chance) * len(self.there) / len(self.here)
        return found

    def expected(self, losses: Floats, likeness: Floats) -> tuple[float, float]:
        """Give the window's mean loss to be expected, and the standard error of its logarithm.

        Args:
            losses: Of the reference's rows.
            likeness: Their weights.
        """
        if losses.max() == 0:
            return 0.0, 0.0
        least = 1e-3 * float(losses.mean())
        of_window, of_unseen = np.zeros(len(self.here)), np.zeros(len(self.there))
        for fold in range(FOLDS):
            model = HistGradientBoostingRegressor(categorical_features=self.categories, **_TREES)
            model.fit(self.there[self.folds != fold], losses[self.folds != fold])
            of_unseen[self.folds == fold] = np.maximum(model.predict(self.there[self.folds == fold]), least)
            of_window += np.maximum(model.predict(self.here), least) / FOLDS
        weights = likeness / likeness.sum()
        missed = losses - of_unseen
        expected = max(float(of_window.mean() + weights @ missed), least)
        of_reference = float(np.sum((weights * (missed - weights @ missed)) ** 2))
        # what the window's own errors add by chance: relative to what is expected, for large losses vary more
        multiple = float((weights @ missed**2) / (weights @ of_unseen**2))
        by_chance = multiple * float(np.sum(of_window**2)) / len(of_window) ** 2
        return expected, float(np.sqrt(of_reference + by_chance)) / expected


def estimate_losses(
    reference: pd.DataFrame, inputs: pd.DataFrame, outputs: pd.DataFrame, target: str, random: np.random.Generator
) -> dict[str, float] | str:
    """Estimate how large a window's errors are, or say why that is not possible.

    The interval holds what the reference leaves open, and what the window's own errors add by chance. It is one of
    the logarithm: errors are positive, and their tail is long.

    Args:
        reference: Rows with inputs, the model's answers (`prediction`) and their labels.
        inputs: The window's inputs.
        outputs: The model's answers in the window, row by row.
        target: Column of the labels.
        random: Of the folds.
    """
    if _ANSWER not in reference or _ANSWER not in outputs:
        return "the model's answers are not one number a row"
    errors = as_numbers(reference[_ANSWER]) - as_numbers(reference[target])
    known = np.flatnonzero(np.isfinite(errors))
    answered = np.flatnonzero(np.isfinite(as_numbers(outputs[_ANSWER])))
    if len(known) < LEAST_LABELS:
        return f"the reference has fewer than {LEAST_LABELS} rows with a number as answer and as label"
    if not len(answered):
        return "the window has no answers that are numbers"
    known, answered = known[spread(len(known), MOST_ROWS, 0)], answered[spread(len(answered), MOST_ROWS, 1)]
    names = [name for name in inputs.columns if name in reference and name not in (target, _ANSWER)][:MOST_COLUMNS]
    there = reference[[*names, _ANSWER]].iloc[known]
    here = inputs[names].assign(**{_ANSWER: outputs[_ANSWER].to_numpy()}).iloc[answered]
    if beyond := _beyond(there, here):
        return f"most rows lie beyond what the reference holds, in {', '.join(beyond)}"
    columns = [coded(there[name], here[name]) for name in there.columns]
    rows, window = (np.column_stack([one[side] for one in columns]) for side in (0, 1))
    sides = _Sides(rows, window, [one[2] for one in columns], random.permutation(len(rows)) % FOLDS)
    found: dict[str, float] = {}
    likeness = sides.likeness()
    alike = float(likeness.sum() ** 2 / np.sum(likeness**2))
    if alike < LEAST_ALIKE:
        return f"the reference's rows are worth {alike:.0f} like the window's, {LEAST_ALIKE} are needed"
    for name, power in _LOSSES.items():
        expected, error = sides.expected(np.abs(errors[known]) ** power, likeness)
        wide = float(np.exp(norm.ppf((1 + INSIDE) / 2) * error))
        told = {name: expected, f"{name}_low": expected / wide, f"{name}_high": expected * wide}
        found |= {each: float(value ** (1 / power)) for each, value in told.items()}
    return found


def _beyond(there: pd.DataFrame, here: pd.DataFrame) -> list[str]:
    """Name the columns in which most of the window's numbers lie outside the reference's range, the worst first."""
    found = {}
    for name in there.columns:
        if is_number(there[name]):
            known, numbers = as_numbers(there[name]), as_numbers(here[name])
            if np.isfinite(known).any():
                outside = (numbers < np.nanmin(known)) | (numbers > np.nanmax(known))
                found[str(name)] = float(np.mean(outside))
    worst = sorted(found, key=lambda name: -found[name])
    return [name for name in worst if found[name] > MOST_BEYOND][:_NAMED]
