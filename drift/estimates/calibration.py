"""How often a score is right: learnt from the reference's labels, on rows drawn anew for each world.

Isotonic regression (Zadrozny and Elkan, KDD 2002) where there is enough to learn from, Platt's scaling (1999) where
there is not: below some 1,000 rows isotonic regression overfits, and two parameters calibrate better (Niculescu-Mizil
and Caruana, "Predicting good probabilities with supervised learning", ICML 2005, section 5).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import isotonic_regression
from sklearn.linear_model import LogisticRegression

from drift.engine.scale import Floats

ISOTONIC_ROWS = 1_000
"""Labelled rows from which on a curve of any shape is learnt …"""
ISOTONIC_LABELS = 100
"""… and as many labels of the class, and of the others."""
LEAST_LABELS = 20
"""Of each class: ten for each of the two parameters of Platt's curve (Peduzzi et al., 1996)."""
_EDGE = 1e-6


class Calibration(Protocol):
    """Turns scores into chances."""

    def chances(self, times: Floats, scores: Floats) -> Floats:
        """Learn from the rows, each so many `times` (shape of the rows), and give the chance of each score."""


def calibration(learnt: Floats, truth: NDArray[np.bool_]) -> Calibration:
    """Choose how one class is calibrated.

    Args:
        learnt: Its scores, 0 to 1.
        truth: Whether a row is of the class.
    """
    rarer = min(int(truth.sum()), len(truth) - int(truth.sum()))
    enough = len(truth) >= ISOTONIC_ROWS and rarer >= ISOTONIC_LABELS
    return Isotonic(learnt, truth) if enough else Platt(learnt, truth)


@dataclass(frozen=True)
class Isotonic:
    """A curve that never falls.

    Attributes:
        learnt: Scores.
        truth: Whether each came true.
    """

    learnt: Floats
    truth: NDArray[np.bool_]

    @cached_property
    def _levels(self) -> tuple[Floats, NDArray[np.intp]]:
        # sorted once for all draws: most of the time that scikit-learn's own estimator takes
        levels, places = np.unique(self.learnt, return_inverse=True)
        return levels, places

    def chances(self, times: Floats, scores: Floats) -> Floats:
        """Learn from the rows, each so many times, and give the chance of each score."""
        levels, places = self._levels
        weight = np.bincount(places, times, len(levels))
        drawn = weight > 0
        hits = np.bincount(places, times * self.truth, len(levels))[drawn]
        curve = isotonic_regression(hits / weight[drawn], sample_weight=weight[drawn], y_min=0, y_max=1)
        found: Floats = np.interp(scores, levels[drawn], curve)
        return found


@dataclass(frozen=True)
class Platt:
    """A logistic curve over the score's log odds, learnt from Platt's smoothed targets.

    Attributes:
        learnt: Scores.
        truth: Whether each came true.
    """

    learnt: Floats
    truth: NDArray[np.bool_]

    def chances(self, times: Floats, scores: Floats) -> Floats:
        """Learn from the rows, each so many times, and give the chance of each score."""
        positive = float(times[self.truth].sum())
        negative = float(times.sum()) - positive
        target = np.where(self.truth, (positive + 1) / (positive + 2), 1 / (negative + 2))
        odds = _log_odds(self.learnt)
        model = LogisticRegression(C=np.inf, solver="newton-cholesky")
        model.fit(
            np.concatenate([odds, odds]),
            np.repeat([True, False], len(odds)),
            sample_weight=np.concatenate([times * target, times * (1 - target)]),
        )
        found: Floats = model.predict_proba(_log_odds(scores))[:, 1]
        return found


def _log_odds(scores: Floats) -> Floats:
    inside = np.clip(scores, _EDGE, 1 - _EDGE)
    found: Floats = np.log(inside / (1 - inside))[:, None]
    return found
