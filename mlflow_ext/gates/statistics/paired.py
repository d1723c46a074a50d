"""Paired comparisons of two versions on the same rows: DeLong, McNemar with Tango's interval, the bootstrap.

Every difference is "candidate minus champion". What follows from an interval is the gate's business
(`better_than_champion.py`).

References:
    DeLong, DeLong, Clarke-Pearson (1988), Biometrics 44, 837-845; computed by midranks as in Sun and Xu (2014), IEEE
    Signal Processing Letters 21, 1389-1393. McNemar (1947), Psychometrika 12, 153-157, exact form. Tango (1998),
    Statistics in Medicine 17, 891-908.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isnan, sqrt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BCA_ROWS = 2_000
"""Above this many rows the bias-corrected bootstrap's jackknife costs more than it gains."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a paired comparison found.

    Attributes:
        method: How it was compared, in words.
        candidate: The candidate's value.
        champion: The champion's value.
        interval: Two-sided confidence interval of `candidate - champion`; not a number where there is none.
        p_value: Two-sided p-value of "no difference", where the method gives one.
        effect_size: The difference without unit, in the sense that `effect` names.
        effect: Name of the effect size.
        details: Further numbers.
    """

    method: str
    candidate: float
    champion: float
    interval: tuple[float, float]
    p_value: float | None = None
    effect_size: float | None = None
    effect: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def difference(self) -> float:
        """Candidate minus champion."""
        return self.candidate - self.champion


def auc_covariance(
    target: "NDArray[Any]", scores: "NDArray[Any]"
) -> tuple["NDArray[np.float64]", "NDArray[np.float64]"]:
    """Give the areas under the ROC curves and their covariance, by DeLong's structural components.

    Args:
        target: 1 for the positive class, 0 otherwise; shape `(rows,)`, at least two of each.
        scores: Shape `(versions, rows)`.

    Returns:
        Areas, shape `(versions,)`, and covariance matrix, shape `(versions, versions)`.
    """
    import numpy as np
    from scipy.stats import rankdata

    positive, negative = scores[:, target == 1], scores[:, target == 0]
    m, n = positive.shape[1], negative.shape[1]
    together = rankdata(np.concatenate([positive, negative], axis=1), axis=1)
    # share of negatives below each positive, and of positives above each negative; ties count one half
    v10 = (together[:, :m] - rankdata(positive, axis=1)) / n
    v01 = 1.0 - (together[:, m:] - rankdata(negative, axis=1)) / m
    areas = v10.mean(axis=1)
    covariance = np.atleast_2d(np.cov(v10)) / m + np.atleast_2d(np.cov(v01)) / n
    return areas, covariance


def delong(
    target: "NDArray[Any]", candidate: "NDArray[Any]", champion: "NDArray[Any]", confidence: float
) -> Comparison:
    """Compare two areas under the ROC curve on the same rows.

    Args:
        target: 1 for the positive class, 0 otherwise.
        candidate: The candidate's score of each row.
        champion: The champion's.
        confidence: Of the interval, between 0 and 1.
    """
    import numpy as np
    from scipy.stats import norm

    areas, covariance = auc_covariance(target, np.vstack([candidate, champion]))
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    deviation = sqrt(max(variance, 0.0))
    reach = float(norm.ppf(0.5 + confidence / 2)) * deviation
    p_value = float(2 * norm.sf(abs(difference) / deviation)) if deviation > 0 else float(difference == 0)
    # two normal distributions whose means are d standard deviations apart have the area Phi(d / sqrt(2))
    inside = np.clip(areas, 0.5 / len(target), 1 - 0.5 / len(target))
    d = sqrt(2) * norm.ppf(inside)
    return Comparison(
        method="DeLong",
        candidate=float(areas[0]),
        champion=float(areas[1]),
        interval=(difference - reach, difference + reach),
        p_value=p_value,
        effect_size=float(d[0] - d[1]),
        effect="difference of the binormal separation d'",
        details={"standard_error": deviation, "positives": int(target.sum()), "negatives": int((target == 0).sum())},
    )


def mcnemar(candidate: "NDArray[Any]", champion: "NDArray[Any]", confidence: float) -> Comparison:
    """Compare two shares of right answers on the same rows.

    Args:
        candidate: 1 where the candidate is right, 0 where it is wrong.
        champion: The same of the champion.
        confidence: Of the interval.
    """
    from scipy.stats import binomtest

    rows = len(candidate)
    won = int(((candidate == 1) & (champion == 0)).sum())
    lost = int(((candidate == 0) & (champion == 1)).sum())
    p_value = float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0
    return Comparison(
        method="McNemar's exact test, Tango's interval",
        candidate=float(candidate.mean()),
        champion=float(champion.mean()),
        interval=tango_interval(won, lost, rows, confidence),
        p_value=p_value,
        effect_size=won / (won + lost) - 0.5 if won + lost else 0.0,
        effect="Cohen's g",
        details={"only_candidate_right": won, "only_champion_right": lost},
    )


def tango_interval(won: int, lost: int, rows: int, confidence: float) -> tuple[float, float]:
    """Give Tango's score interval of `(won - lost) / rows`, a difference of two paired shares.

    Unlike Wald's it is not of zero width where both agree on every row.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    z = float(norm.ppf(0.5 + confidence / 2))
    estimate = (won - lost) / rows

    def score(delta: float) -> float:
        a = 2 * rows
        b = -won - lost + (2 * rows - won + lost) * delta
        c = -lost * delta * (1 - delta)
        q = (sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        spread = rows * (2 * q + delta * (1 - delta))
        away = won - lost - rows * delta
        if spread <= 0:
            return 0.0 if away == 0 else float("inf") if away > 0 else float("-inf")
        return away / sqrt(spread)

    edge = 1 - 1e-12
    low = -1.0 if score(-edge) <= z else float(brentq(lambda delta: min(score(delta), 1e6) - z, -edge, estimate))
    high = 1.0 if score(edge) >= -z else float(brentq(lambda delta: max(score(delta), -1e6) + z, estimate, edge))
    return low, high


def bootstrap(
    target: "NDArray[Any]",
    candidate: "NDArray[Any]",
    champion: "NDArray[Any]",
    value: "Callable[[NDArray[Any], NDArray[Any]], float]",
    confidence: float,
    *,
    per_row: "Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float64]] | None" = None,
    resamples: int = 1_000,
) -> Comparison:
    """Compare any measure on the same rows: rows are drawn with replacement, and both versions answer each draw.

    Args:
        target: Ground truth.
        candidate: The candidate's answers.
        champion: The champion's.
        value: The measure of `(target, answers)`.
        confidence: Of the interval.
        per_row: Gives one value a row whose mean is `value`, where there is such; much faster.
        resamples: Number of draws. The seed is fixed: the same rows give the same interval.
    """
    import numpy as np
    from scipy import stats

    mine, theirs = value(target, candidate), value(target, champion)
    rows = len(target)
    effect_size: float | None = None
    drawn: NDArray[Any] = np.arange(rows)
    if per_row is not None:
        drawn = per_row(target, candidate) - per_row(target, champion)
        spread = float(drawn.std(ddof=1))
        effect_size = float(drawn.mean()) / spread if spread > 0 else 0.0

    def difference(index: Any) -> float:
        return value(target[index], candidate[index]) - value(target[index], champion[index])

    method = "BCa" if rows <= _BCA_ROWS else "percentile"

    def interval(how: str) -> tuple[float, float]:
        with np.errstate(all="ignore"):
            found = stats.bootstrap(
                (drawn,),
                np.mean if per_row is not None else difference,
                n_resamples=resamples,
                confidence_level=confidence,
                method=how,
                vectorized=per_row is not None,
                batch=max(1, 20_000_000 // rows) if per_row is not None else None,
                rng=np.random.default_rng(0),
            ).confidence_interval
        return float(found.low), float(found.high)

    if np.array_equal(candidate, champion):
        low, high = 0.0, 0.0
    else:
        low, high = interval(method)
        if isnan(low) or isnan(high):
            method = "percentile"
            low, high = interval(method)
    return Comparison(
        method=f"paired bootstrap ({method}, {resamples} resamples)",
        candidate=mine,
        champion=theirs,
        interval=(low, high),
        effect_size=effect_size,
        effect="Cohen's d of the rows' differences" if effect_size is not None else "",
    )
