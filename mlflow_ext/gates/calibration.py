"""Can the candidate's probabilities be taken at their word? Brier score and expected calibration error.

The formulas are in `statistics/calibration.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.errors import EvaluationImpossibleError, MissingEvidenceError
from mlflow_ext.gate_context import GateContext, JudgedVersion
from mlflow_ext.gates.statistics.calibration import Bins, bins, brier_rows, confidences
from mlflow_ext.policy import GatePolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_RESAMPLES = 1_000
_ROUNDING = 1e-12


class CalibrationPolicy(GatePolicy):
    """Bounds for the error of probabilities; each bound gives a result.

    Attributes:
        gate: `calibration`.
        max_brier: Largest Brier score.
        max_brier_change: How much larger than Production's on the same rows.
        max_ece: Largest expected calibration error.
        max_ece_change: How much larger than Production's on the same rows.
        bins: Number of bins of confidence.
        binning: Bins of equal `width` or of about equally many `rows`.
        minimum_rows: Fewer evaluation rows are inconclusive.
        confidence: Of the interval that is shown.
    """

    gate: Literal["calibration"] = "calibration"
    max_brier: float | None = Field(default=None, ge=0)
    max_brier_change: float | None = None
    max_ece: float | None = Field(default=None, ge=0, le=1)
    max_ece_change: float | None = None
    bins: int = Field(default=10, ge=2, le=100)
    binning: Literal["width", "rows"] = "width"
    minimum_rows: int = Field(default=100, ge=2)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)

    @model_validator(mode="after")
    def _has_a_bound(self) -> "CalibrationPolicy":
        if self.max_brier is None and self.max_ece is None and not self.compares:
            raise ValueError("a calibration gate needs max_brier, max_ece, max_brier_change or max_ece_change")
        return self

    @property
    def compares(self) -> bool:
        """Tell whether the version in Production is needed."""
        return self.max_brier_change is not None or self.max_ece_change is not None


@dataclass(frozen=True, slots=True)
class _Side:
    """One version's probabilities on the evaluation rows."""

    truth: "NDArray[Any]"
    scores: "NDArray[np.float64]"
    bins: Bins


class CalibrationGate:
    """`gate: calibration`."""

    policy = CalibrationPolicy

    def judge(self, policy: CalibrationPolicy, context: GateContext) -> list[GateResult]:
        """Measure both errors, and give a result for each that has a bound.

        Raises:
            MissingEvidenceError: Too few rows.
            EvaluationImpossibleError: A version gives no probabilities, or does not know a class of the target.
        """
        rows = len(context.rows)
        if rows < policy.minimum_rows:
            raise MissingEvidenceError(
                f"{rows} evaluation rows are too few to judge probabilities; the policy asks for "
                f"{policy.minimum_rows} (minimum_rows)"
            )
        mine = _side(context.candidate, context, policy)
        champion = context.champion if policy.compares else None
        theirs = None if champion is None else _side(champion, context, policy)
        picture = _picture(mine, theirs, context)
        results = []
        for word, bound, change, measured in (
            ("Brier score", policy.max_brier, policy.max_brier_change, _brier),
            ("ECE", policy.max_ece, policy.max_ece_change, _ece(policy)),
        ):
            if bound is None and change is None:
                continue
            beside = None if theirs is None else measured(theirs.truth, theirs.scores)
            found = measured(mine.truth, mine.scores)
            results.append(
                _result(
                    policy,
                    *(word, found, bound, change, beside, champion),
                    sample_size=rows,
                    interval=_interval(mine, measured, policy.confidence),
                    picture=picture,
                    details={"bins": len(mine.bins.rows), "largest_distance_of_a_bin": mine.bins.worst},
                )
            )
        return results


gate = CalibrationGate()


def _side(side: JudgedVersion, context: GateContext, policy: CalibrationPolicy) -> _Side:
    import numpy as np

    scores, classes = side.scores(context.rows), side.classes
    if scores is None or classes is None:
        raise EvaluationImpossibleError(f"version {side.version} gives no class probabilities")
    target = context.rows[context.target].to_numpy()
    place = {label: position for position, label in enumerate(classes.tolist())}
    unknown = sorted({str(label) for label in np.unique(target).tolist() if label not in place})
    if unknown:
        raise EvaluationImpossibleError(f"version {side.version} does not know the classes {', '.join(unknown)}")
    truth = np.array([place[label] for label in target.tolist()])
    return _Side(truth, scores, _bins(truth, scores, policy))


def _bins(truth: "NDArray[Any]", scores: "NDArray[np.float64]", policy: CalibrationPolicy) -> Bins:
    return bins(*confidences(truth, scores), policy.bins, equal_rows=policy.binning == "rows")


def _brier(truth: "NDArray[Any]", scores: "NDArray[np.float64]") -> float:
    return float(brier_rows(truth, scores).mean())


def _ece(policy: CalibrationPolicy) -> Callable[[Any, Any], float]:
    return lambda truth, scores: _bins(truth, scores, policy).error


def _interval(side: _Side, measured: Callable[[Any, Any], float], confidence: float) -> tuple[float, float]:
    import numpy as np
    from scipy import stats

    found = stats.bootstrap(
        (np.arange(len(side.truth)),),
        lambda index: measured(side.truth[index], side.scores[index]),
        n_resamples=_RESAMPLES,
        confidence_level=confidence,
        method="percentile",
        vectorized=False,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def _result(
    policy: CalibrationPolicy,
    word: str,
    found: float,
    bound: float | None,
    change: float | None,
    beside: float | None,
    champion: JudgedVersion | None,
    **more: Any,
) -> GateResult:
    bounds = [] if bound is None else [(bound, "the bound")]
    note = ""
    if change is not None and beside is not None and champion is not None:
        words = f"version {champion.version} in Production has {beside:.4g} on the same rows, change {change:+g}"
        bounds.append((beside + change, words))
    elif change is not None:
        note = "; there is no version in Production to compare with"
    strictest = min(bounds) if bounds else None
    reason = f"{word} is {found:.4g}"
    if strictest is not None:
        reason += f" and must be at most {strictest[0]:.4g} ({strictest[1]})"
    asked = [] if bound is None else [f"≤ {bound:g}"]
    if change is not None:
        asked.append(f"at most {change:+g} against Production")
    return GateResult(
        gate=policy.gate,
        name=f"{word} {' and '.join(asked)}",
        verdict=Verdict.PASSED if strictest is None or found <= strictest[0] + _ROUNDING else Verdict.FAILED,
        reason=reason + note,
        measured=found,
        bound=strictest[0] if strictest else None,
        champion=beside,
        **more,
    )


def _picture(mine: _Side, theirs: _Side | None, context: GateContext) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    axes.plot([0, 1], [0, 1], ":", color="#9aa7b5", linewidth=0.8)
    for side, label, colour in ((theirs, "Production", "#9aa7b5"), (mine, "candidate", "#2f6fb7")):
        if side is not None:
            axes.plot(side.bins.confidence, side.bins.share, "o-", label=label, color=colour, markersize=4)
    axes.set_ylabel("share that came true")
    axes.legend(loc="upper left", fontsize="small", frameon=False)
    _, confidence = confidences(mine.truth, mine.scores)
    below.hist(confidence, bins=20, range=(0, 1), color="#2f6fb7")
    below.set_xlabel("probability given by the model")
    below.set_ylabel("rows")
    return context.save_picture("calibration", figure)
