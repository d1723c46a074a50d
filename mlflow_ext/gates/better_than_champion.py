"""Is the candidate better than the champion by more than chance? A paired comparison on the same rows.

One number against another is the `metric` gate's business; the tests themselves are in `statistics/paired.py`.
"""

from math import isnan
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.errors import MissingEvidenceError
from mlflow_ext.gate_context import GateContext, JudgedVersion
from mlflow_ext.gates.statistics.measures import Measure, answers, measure_named
from mlflow_ext.gates.statistics.paired import Comparison, bootstrap, delong, mcnemar
from mlflow_ext.policy import GatePolicy

if TYPE_CHECKING:
    from numpy.typing import NDArray


class BetterThanChampionPolicy(GatePolicy):
    """A paired comparison with Production.

    Attributes:
        gate: `better_than_champion`.
        metric: A measure of rows by MLflow's name, or `module:function` called with `(target, prediction)`.
        ask: `superior`: better by more than `margin`; `non_inferior`: not worse by `margin` or more.
        margin: In the metric's unit, never negative.
        confidence: Of the two-sided interval that must lie on the right side.
        minimum_rows: Fewer evaluation rows are inconclusive.
        method: `auto` takes DeLong for `roc_auc`, McNemar for `accuracy_score`, the bootstrap otherwise.
        resamples: Draws of the bootstrap.
        undecided: What an interval that holds the bound means.
        greater_is_better: For a metric of one's own: which direction is better.
    """

    gate: Literal["better_than_champion"] = "better_than_champion"
    metric: str = "roc_auc"
    ask: Literal["superior", "non_inferior"] = "superior"
    margin: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    minimum_rows: int = Field(default=100, ge=2)
    method: Literal["auto", "delong", "mcnemar", "bootstrap"] = "auto"
    resamples: int = Field(default=1_000, ge=100, le=100_000)
    undecided: Literal["inconclusive", "failed"] = "inconclusive"
    greater_is_better: bool | None = None

    @model_validator(mode="after")
    def _can_be_asked(self) -> "BetterThanChampionPolicy":
        if self.ask == "non_inferior" and self.margin == 0:
            raise ValueError("non_inferior needs a margin above 0: how much worse is still good enough")
        for method, metric in _OF.items():
            if self.method == method and self.metric != metric:
                raise ValueError(f"{method} compares {metric} only; use bootstrap for {self.metric}")
        return self

    @property
    def title(self) -> str:
        """What is asked."""
        by = f" by {self.margin:g}" if self.margin else ""
        if self.ask == "superior":
            return f"{self.metric} better than Production{by} ({self.confidence:.0%})"
        return f"{self.metric} not worse than Production{by} ({self.confidence:.0%})"


_OF = {"delong": "roc_auc", "mcnemar": "accuracy_score"}


class BetterThanChampionGate:
    """`gate: better_than_champion`."""

    policy = BetterThanChampionPolicy

    def judge(self, policy: BetterThanChampionPolicy, context: GateContext) -> GateResult:
        """Compare, and look on which side of the bound the interval lies.

        Raises:
            MissingEvidenceError: Too few rows, or one class only.
            EvaluationImpossibleError: A side cannot answer.
        """
        champion, rows = context.champion, len(context.rows)
        if champion is None:
            return GateResult(
                gate=policy.gate,
                name=policy.title,
                verdict=Verdict.PASSED,
                reason=f"there is no version in Production to be compared with in {policy.metric}",
                sample_size=rows,
            )
        if rows < policy.minimum_rows:
            raise MissingEvidenceError(
                f"{rows} evaluation rows are too few for a comparison in {policy.metric}; "
                f"the policy asks for {policy.minimum_rows} (minimum_rows)"
            )
        measure = measure_named(policy.metric, greater_is_better=policy.greater_is_better)
        target, mine = answers(measure, context.candidate, context)
        _, theirs = answers(measure, champion, context)
        found = _compare(policy, measure, target, mine, theirs)
        return _result(policy, measure, found, champion, context, (target, mine, theirs))


gate = BetterThanChampionGate()


def _compare(
    policy: BetterThanChampionPolicy,
    measure: Measure,
    target: "NDArray[Any]",
    mine: "NDArray[Any]",
    theirs: "NDArray[Any]",
) -> Comparison:
    method: str = policy.method
    if method == "auto":
        method = next((word for word, metric in _OF.items() if metric == measure.name), "bootstrap")
    if method == "delong":
        if min(int(target.sum()), len(target) - int(target.sum())) < 2:
            raise MissingEvidenceError("a class has fewer than two evaluation rows, too few to compare ROC curves")
        return delong(target, mine, theirs, policy.confidence)
    if method == "mcnemar":
        return mcnemar((mine == target).astype(int), (theirs == target).astype(int), policy.confidence)
    return bootstrap(
        *(target, mine, theirs, measure.value, policy.confidence),
        per_row=measure.per_row,
        resamples=policy.resamples,
    )


def _result(
    policy: BetterThanChampionPolicy,
    measure: Measure,
    found: Comparison,
    champion: JudgedVersion,
    context: GateContext,
    arrays: tuple["NDArray[Any]", "NDArray[Any]", "NDArray[Any]"],
) -> GateResult:
    better = found.interval if measure.greater_is_better else (-found.interval[1], -found.interval[0])
    bound = policy.margin if policy.ask == "superior" else -policy.margin
    verdict, words = decide(better, bound, policy)
    sign = 1 if measure.greater_is_better else -1
    reason = (
        f"{policy.metric} is {found.candidate:.6g}, {found.difference:+.4g} against version {champion.version} in "
        f"Production ({found.champion:.6g}); the {policy.confidence:.0%} interval of the difference is "
        f"{found.interval[0]:+.4g} to {found.interval[1]:+.4g} ({found.method}) and {words} {sign * bound:+.4g}"
    )
    return GateResult(
        gate=policy.gate,
        name=policy.title,
        verdict=verdict,
        reason=reason,
        measured=found.candidate,
        bound=found.champion + sign * bound,
        champion=found.champion,
        sample_size=len(context.rows),
        interval=found.interval,
        picture=_picture(policy, measure, found, sign * bound, context, arrays),
        details={
            "difference": found.difference,
            "interval_of": "difference",
            "method": found.method,
            "p_value": found.p_value,
            "effect_size": found.effect_size,
            "effect": found.effect,
            **found.details,
        },
    )


def decide(better: tuple[float, float], bound: float, policy: BetterThanChampionPolicy) -> tuple[Verdict, str]:
    """Judge an interval of the improvement.

    Args:
        better: Interval of "how much better", positive where the candidate is.
        bound: What the improvement must exceed.
        policy: Says what an undecided comparison means.
    """
    low, high = better
    if isnan(low) or isnan(high):
        return Verdict.INCONCLUSIVE, "cannot be computed, so it is not known to lie beyond"
    if low > bound:
        return Verdict.PASSED, "lies on the better side of"
    if high <= bound:
        return Verdict.FAILED, "does not reach beyond"
    return Verdict(policy.undecided), "holds"


def _picture(
    policy: BetterThanChampionPolicy,
    measure: Measure,
    found: Comparison,
    bound: float,
    context: GateContext,
    arrays: tuple["NDArray[Any]", "NDArray[Any]", "NDArray[Any]"],
) -> str:
    from matplotlib.figure import Figure

    curves = measure.name == "roc_auc"
    figure = Figure(figsize=(8.4, 3.2) if curves else (6.4, 1.8), layout="constrained")
    below = figure.add_subplot(1, 2 if curves else 1, 1)
    low, high = found.interval
    below.axvline(bound, color="#d98e04", label="bound")
    below.axvline(0, color="#9aa7b5", linewidth=0.8)
    below.plot([low, high], [0, 0], color="#2f6fb7", linewidth=4, solid_capstyle="butt")
    below.plot([found.difference], [0], "o", color="#1d2733", label="candidate minus Production")
    below.set_yticks([])
    below.set_xlabel(f"difference in {policy.metric}, {policy.confidence:.0%} interval")
    below.legend(loc="upper left", fontsize="small", frameon=False)
    if curves:
        from sklearn.metrics import roc_curve

        axes = figure.add_subplot(1, 2, 2)
        target, mine, theirs = arrays
        for scores, label, colour in ((mine, "candidate", "#2f6fb7"), (theirs, "Production", "#9aa7b5")):
            wrong, right, _ = roc_curve(target, scores)
            axes.plot(wrong, right, label=label, color=colour)
        axes.plot([0, 1], [0, 1], ":", color="#9aa7b5", linewidth=0.8)
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")
        axes.legend(loc="lower right", fontsize="small", frameon=False)
    return context.save_picture(f"{policy.gate} {policy.metric}", figure)
