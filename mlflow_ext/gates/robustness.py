"""What is lost when rows are a little wrong? Noise, missing values, shuffled and out-of-range columns, and evasion.

How rows are made wrong is in `statistics/perturbations.py`, how an attacker looks for the smallest change in
`statistics/evasion.py`.
"""

from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.errors import EvaluationImpossibleError, MissingEvidenceError
from mlflow_ext.gate_context import GateContext
from mlflow_ext.gates.statistics import perturbations
from mlflow_ext.gates.statistics.bounds import at_most
from mlflow_ext.gates.statistics.evasion import evade
from mlflow_ext.gates.statistics.groups import interval
from mlflow_ext.gates.statistics.measures import answers_on, default_measure, measure_named, model_columns
from mlflow_ext.gates.statistics.perturbations import Perturbation
from mlflow_ext.policy import GatePolicy

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_KINDS = ("noise", "missing", "permuted", "out_of_range")
_WORDS = {
    "noise": "noise",
    "missing": "missing values",
    "permuted": "shuffled values",
    "out_of_range": "values out of range",
}
_CANNOT = {"noise": "noisy", "missing": "missing", "permuted": "shuffled", "out_of_range": "out of range"}
_UNITS = {
    "noise": "standard deviations",
    "missing": "of the values",
    "permuted": "of the rows",
    "out_of_range": "ranges beyond",
}
_STEPS = (0.25, 0.5, 1.0, 2.0)
"""Of the policy's level: where the curve is measured. The bound holds at 1."""


class RobustnessPolicy(GatePolicy):
    """Bounds for what wrong rows may cost; each bound gives a result.

    Attributes:
        gate: `robustness`.
        metric: What is lost; by model type where it is empty.
        noise: Normal noise of so many standard deviations of each number column.
        max_noise_loss: How much worse the metric may become by it, in its unit.
        missing: Share of all values that are blanked, where a column's type has room for that.
        max_missing_loss: As above.
        permuted: Share of the rows among which one column is shuffled.
        max_permuted_loss: As above, for the worst column.
        out_of_range: How many ranges one number column lies beyond what it ever was.
        max_out_of_range_loss: As above, for the worst column.
        evasion: Largest change of any column, in standard deviations, that an attacker may make.
        max_evasion: Largest share of rightly answered rows whose label an attacker turns within it.
        evasion_rows: How many rows are attacked.
        rows: At most so many evaluation rows are used (a seeded sample).
        minimum_rows: Fewer evaluation rows are inconclusive.
        repeats: So often chance is drawn; the losses are averaged.
        confidence: Of the bootstrap interval.
        undecided: What a missed bound means that the interval still holds.
    """

    gate: Literal["robustness"] = "robustness"
    metric: str = ""
    noise: float = Field(default=0.1, gt=0)
    max_noise_loss: float | None = None
    missing: float = Field(default=0.05, gt=0, le=1)
    max_missing_loss: float | None = None
    permuted: float = Field(default=1.0, gt=0, le=1)
    max_permuted_loss: float | None = None
    out_of_range: float = Field(default=1.0, gt=0)
    max_out_of_range_loss: float | None = None
    evasion: float = Field(default=0.1, gt=0)
    max_evasion: float | None = Field(default=None, ge=0, le=1)
    evasion_rows: int = Field(default=50, ge=10, le=1_000)
    rows: int = Field(default=2_000, ge=100)
    minimum_rows: int = Field(default=100, ge=20)
    repeats: int = Field(default=3, ge=1, le=20)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    undecided: Literal["inconclusive", "failed"] = "inconclusive"

    @model_validator(mode="after")
    def _has_a_bound(self) -> "RobustnessPolicy":
        if self.max_evasion is None and all(self.bound(kind) is None for kind in _KINDS):
            bounds = ", ".join(f"max_{kind}_loss" for kind in _KINDS)
            raise ValueError(f"a robustness gate needs {bounds} or max_evasion")
        return self

    def bound(self, kind: str) -> float | None:
        """How much a kind of perturbation may cost; `None` where nobody asks."""
        found: float | None = getattr(self, f"max_{kind}_loss")
        return found


class RobustnessGate:
    """`gate: robustness`."""

    policy = RobustnessPolicy

    def judge(self, policy: RobustnessPolicy, context: GateContext) -> list[GateResult]:
        """Measure every perturbation that has a bound.

        Raises:
            MissingEvidenceError: Too few evaluation rows.
            EvaluationImpossibleError: The candidate cannot answer the rows as they are, or the metric is unknown.
        """
        if len(context.rows) < policy.minimum_rows:
            raise MissingEvidenceError(
                f"{len(context.rows)} evaluation rows, and {policy.minimum_rows} are asked for (minimum_rows)"
            )
        bench = _Bench(policy, context)
        asked = ((kind, policy.bound(kind)) for kind in _KINDS)
        found = [bench.judge(kind, bound) for kind, bound in asked if bound is not None]
        picture = _picture(bench, context)
        results = [replace(one, picture=picture if "curve" in one.details else None) for one in found]
        if policy.max_evasion is not None:
            results.append(_evasion(policy, policy.max_evasion, context))
        return results


gate = RobustnessGate()


@dataclass(frozen=True, slots=True)
class _Cost:
    """What one perturbation costs at the policy's level.

    Attributes:
        done: The perturbation.
        loss: Mean loss over the repeats; not finite where answers were no numbers.
        answers: The candidate's answers, one array a repeat.
        refused: Why the candidate gave no answer; empty where it did.
    """

    done: Perturbation
    loss: float = float("nan")
    answers: "tuple[NDArray[Any], ...]" = ()
    refused: str = ""

    @property
    def weight(self) -> float:
        """Loss for comparing: no answer, or none that is a number, is worse than any loss."""
        return self.loss if isfinite(self.loss) else float("inf")


class _Bench:
    """Candidate, rows and metric."""

    def __init__(self, policy: RobustnessPolicy, context: GateContext) -> None:
        self._policy = policy
        self._candidate = context.candidate
        rows = context.rows if len(context.rows) <= policy.rows else context.rows.sample(policy.rows, random_state=0)
        self._target = rows[context.target].to_numpy()
        self._features: pd.DataFrame = rows[model_columns(context)].reset_index(drop=True)
        self._measure = measure_named(policy.metric or default_measure(context))
        self._truth, self._clean = answers_on(self._measure, self._candidate, self._features, self._target)
        self._sign = 1 if self._measure.greater_is_better else -1
        self.value = self._measure.value(self._truth, self._clean)
        self.metric = self._measure.name
        self.curves: dict[str, list[tuple[float, float]]] = {}
        """Level and metric of the worst perturbation, by what was done."""

    def judge(self, kind: str, bound: float) -> GateResult:
        """Perturb all columns at once, or each by itself where one column is the story, and hold the worst."""
        policy, level = self._policy, getattr(self._policy, kind)
        costs = [self._cost(one, level) for one in self._perturbations(kind)]
        title = f"{self.metric} lost by {kind.replace('_', ' ')} ({level:g} {_UNITS[kind]}) ≤ {bound:g}"
        if not costs:
            reason = f"no column of the model can be {_CANNOT[kind]}, so there is nothing to lose"
            return GateResult(policy.gate, title, Verdict.PASSED, reason)
        worst = max(costs, key=lambda one: one.weight)
        where = _named(worst.done) if len(costs) > 1 else f"all {len(worst.done.columns)} columns that can be"
        details: dict[str, Any] = {"level": level, "unit": _UNITS[kind], "clean": self.value}
        if len(costs) > 1:
            details["loss_by_column"] = {
                one.done.columns[0]: one.loss for one in sorted(costs, key=lambda one: -one.weight)
            }
        if worst.refused or not isfinite(worst.loss):
            why = worst.refused or f"{self.metric} is no number any more"
            reason = f"it cannot answer rows with {_WORDS[kind]} in {where}: {why}"
            return GateResult(policy.gate, title, Verdict.FAILED, reason, bound=bound, details=details)
        self.curves[f"{_WORDS[kind]}, {_named(worst.done)}"] = curve = self._curve(worst.done, level)
        details["curve"] = [{"level": at, self.metric: value} for at, value in curve]
        reach = interval(lambda drawn: self._loss(worst.answers, drawn), len(self._truth), policy.confidence)
        verdict, words = at_most(worst.loss, bound, reach[0], policy.undecided)
        reason = (
            f"with {_WORDS[kind]} in {where} {self.metric} goes from {self.value:.4g} to "
            f"{self.value - self._sign * worst.loss:.4g}, a loss of {worst.loss:.4g} ({policy.confidence:.0%} interval "
            f"{reach[0]:.4g} to {reach[1]:.4g}), {words} the {bound:g} that is allowed"
        )
        return GateResult(
            gate=policy.gate,
            name=title,
            verdict=verdict,
            reason=reason,
            measured=worst.loss,
            bound=bound,
            sample_size=len(self._truth),
            interval=reach,
            details=details,
        )

    def _perturbations(self, kind: str) -> list[Perturbation]:
        numbers = perturbations.numbers(self._features)
        if kind == "noise":
            return [perturbations.noise(numbers)] if numbers else []
        if kind == "missing":
            room = perturbations.can_be_missing(self._features)
            return [perturbations.missing(room)] if room else []
        if kind == "permuted":
            return [perturbations.permuted(str(name)) for name in self._features]
        return [perturbations.out_of_range(name) for name in numbers]

    def _cost(self, done: Perturbation, level: float) -> _Cost:
        try:
            answers = tuple(self._answers(done, level, repeat) for repeat in range(self._policy.repeats))
        except EvaluationImpossibleError as exc:
            return _Cost(done, refused=str(exc))
        return _Cost(done, self._loss(answers), answers)

    def _answers(self, done: Perturbation, level: float, repeat: int) -> "NDArray[Any]":
        import numpy as np

        changed = done.apply(self._features, level, np.random.default_rng(repeat))
        return answers_on(self._measure, self._candidate, changed, self._target)[1]

    def _loss(self, answers: "tuple[NDArray[Any], ...]", drawn: "NDArray[np.int64] | slice" = slice(None)) -> float:
        truth = self._truth[drawn]
        before = self._measure.value(truth, self._clean[drawn])
        after = [self._value(truth, one[drawn]) for one in answers]
        return self._sign * (before - sum(after) / len(after))

    def _value(self, truth: "NDArray[Any]", answers: "NDArray[Any]") -> float:
        try:
            return self._measure.value(truth, answers)
        # scikit-learn's word for answers that are not finite
        except ValueError:
            return float("nan")

    def _curve(self, done: Perturbation, level: float) -> list[tuple[float, float]]:
        share = done.word in ("missing", "permuted")
        levels = sorted({min(1.0, level * step) if share else level * step for step in _STEPS})
        found = [(0.0, self.value)]
        for at in levels:
            cost = self._cost(done, at)
            if not isfinite(cost.loss):
                break
            found.append((at, self.value - self._sign * cost.loss))
        return found


def _named(done: Perturbation) -> str:
    return done.columns[0] if len(done.columns) == 1 else f"{len(done.columns)} columns"


def _picture(bench: _Bench, context: GateContext) -> str | None:
    from matplotlib.figure import Figure

    if not bench.curves:
        return None
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    for words, curve in bench.curves.items():
        top = curve[-1][0]
        axes.plot([at / top for at, _ in curve], [value for _, value in curve], "o-", label=f"{words} (up to {top:g})")
    axes.axhline(bench.value, color="#9aa7b5", linewidth=0.8)
    axes.set_xlabel("how much, as a share of the strongest")
    axes.set_ylabel(bench.metric)
    axes.grid(linewidth=0.4)
    axes.legend(fontsize="small", frameon=False)
    return context.save_picture("robustness", figure)


def _evasion(policy: RobustnessPolicy, bound: float, context: GateContext) -> GateResult:
    found = evade(context, epsilon=policy.evasion, rows=policy.evasion_rows)
    low, high = interval(lambda drawn: float(found.turned[drawn].mean()), len(found.turned), policy.confidence)
    share = float(found.turned.mean())
    verdict, words = at_most(share, bound, low, policy.undecided)
    return GateResult(
        gate=policy.gate,
        name=f"labels turned by an attacker within {policy.evasion:g} standard deviations ≤ {bound:g}",
        verdict=verdict,
        reason=(
            f"an attacker who changes no column by more than {policy.evasion:g} standard deviations turns the label of "
            f"{share:.0%} of {len(found.turned)} rows ({policy.confidence:.0%} interval {low:.0%} to {high:.0%}), "
            f"{words} the {bound:.0%} that is allowed"
        ),
        measured=share,
        bound=bound,
        sample_size=len(found.turned),
        interval=(low, high),
        picture=_distances(found.distances, policy.evasion, context),
        details={"attack": "HopSkipJump (largest change of any column)", "median_distance": found.median},
    )


def _distances(distances: "NDArray[np.float64]", epsilon: float, context: GateContext) -> str:
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.0), layout="constrained")
    axes = figure.subplots()
    ordered = np.sort(distances)
    axes.step(ordered, np.arange(1, len(ordered) + 1) / len(ordered), where="post", color="#2f6fb7")
    axes.axvline(epsilon, color="#d98e04", label="within reach")
    axes.set_xlabel("largest change of any column, in standard deviations")
    axes.set_ylabel("share of rows turned")
    axes.grid(linewidth=0.4)
    axes.legend(fontsize="small", frameon=False)
    return context.save_picture("evasion", figure)
