"""What would change for clients? The last logged production requests, replayed through candidate and champion.

It asks how different the answers are, not which are right: logged requests have no ground truth yet. Where they come
from is in `store/logged_requests.py`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.errors import EvaluationImpossibleError, MissingEvidenceError
from mlflow_ext.gate_context import GateContext, JudgedVersion, LoggedRequests
from mlflow_ext.policy import GatePolicy

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_QUANTILES = (0.5, 0.9, 0.95, 0.99)


class BehaviourPolicy(GatePolicy):
    """Bounds for what changes for clients; each bound gives a result.

    Attributes:
        gate: `behaviour`.
        rows: How many of the last logged rows are replayed.
        minimum_rows: Fewer logged rows are inconclusive.
        min_agreement: Least share of rows with the same answer.
        tolerance: Numbers that differ by no more are the same answer.
        max_change: Largest change of a number, or of a class probability, at `quantile`.
        quantile: Share of rows that must not change by more than `max_change`.
        costs: What it costs that the champion says the one and the candidate the other, by labels as text; labels that
            are not named cost 1.
        max_cost: Largest mean cost a row.
        show_rows: How many of the rows that change most are kept as a table; they hold what clients sent.
    """

    gate: Literal["behaviour"] = "behaviour"
    rows: int = Field(default=1_000, ge=1, le=1_000_000)
    minimum_rows: int = Field(default=100, ge=1)
    min_agreement: float | None = Field(default=None, ge=0, le=1)
    tolerance: float = Field(default=0.0, ge=0)
    max_change: float | None = Field(default=None, ge=0)
    quantile: float = Field(default=0.95, gt=0, le=1)
    costs: dict[str, dict[str, float]] = Field(default_factory=dict)
    max_cost: float | None = Field(default=None, ge=0)
    show_rows: int = Field(default=20, ge=0, le=1_000)

    @model_validator(mode="after")
    def _has_a_bound(self) -> "BehaviourPolicy":
        if self.min_agreement is None and self.max_change is None and self.max_cost is None:
            raise ValueError("a behaviour gate needs min_agreement, max_change or max_cost")
        if self.costs and self.max_cost is None:
            raise ValueError("costs decide nothing without max_cost")
        return self

    @property
    def title(self) -> str:
        """What is asked."""
        return f"behaviour on the last {self.rows} logged rows"

    @property
    def requests_wanted(self) -> int:
        """How many rows are replayed."""
        return self.rows


@dataclass(frozen=True, slots=True)
class Replay:
    """Answers of both versions to the same rows.

    Attributes:
        before: The champion's.
        after: The candidate's.
        agree: Whether they are the same, one a row.
        change: By how much numbers, or class probabilities, differ; `None` where there is nothing to subtract.
    """

    before: "NDArray[Any]"
    after: "NDArray[Any]"
    agree: "NDArray[np.bool_]"
    change: "NDArray[np.float64] | None"


class BehaviourGate:
    """`gate: behaviour`."""

    policy = BehaviourPolicy

    def judge(self, policy: BehaviourPolicy, context: GateContext) -> list[GateResult]:
        """Replay, and give a result for each bound.

        Raises:
            MissingEvidenceError: Too few requests are logged.
            EvaluationImpossibleError: The champion cannot answer them any more.
        """
        champion = context.champion
        if champion is None:
            return [_one(policy, Verdict.PASSED, "there is no version in Production whose behaviour could change")]
        requests = context.requests
        if len(requests) < policy.minimum_rows:
            raise MissingEvidenceError(
                f"{len(requests)} logged rows are too few to replay; the policy asks for {policy.minimum_rows} "
                "(minimum_rows)"
            )
        before = champion.predict(requests.inputs)
        try:
            after = context.candidate.predict(requests.inputs)
        except EvaluationImpossibleError as exc:
            return [_one(policy, Verdict.FAILED, f"the candidate cannot answer what clients send: {exc}")]
        found = compare(policy, before, after, _probability_change(context, champion, requests.inputs))
        more: dict[str, Any] = {
            "sample_size": len(requests),
            "picture": _picture(found, context),
            "evidence": _changed_rows(policy, found, requests, context),
            "details": _details(found, requests, champion),
        }
        return results(policy, found, champion.version, more)


gate = BehaviourGate()


def compare(
    policy: BehaviourPolicy,
    before: "NDArray[Any]",
    after: "NDArray[Any]",
    probability_change: "NDArray[np.float64] | None",
) -> Replay:
    """Lay the answers of both versions side by side.

    Args:
        policy: Says what the same number is.
        before: The champion's answers, one a row.
        after: The candidate's.
        probability_change: By how much class probabilities differ, where both versions give any.
    """
    import numpy as np

    numbers = np.issubdtype(before.dtype, np.number) and np.issubdtype(after.dtype, np.number)
    if numbers:
        away = np.abs(after.astype(np.float64) - before.astype(np.float64))
        both_missing = np.isnan(before.astype(np.float64)) & np.isnan(after.astype(np.float64))
        agree = (away <= policy.tolerance) | both_missing
        return Replay(before, after, agree, away if probability_change is None else probability_change)
    return Replay(before, after, np.asarray(before == after, dtype=bool), probability_change)


def results(policy: BehaviourPolicy, found: Replay, version: int, more: dict[str, Any]) -> list[GateResult]:
    """Hold what was found against each bound that the policy has."""
    import numpy as np
    from scipy.stats import binomtest

    rows, same = len(found.agree), int(found.agree.sum())
    answers = []
    if policy.min_agreement is not None:
        share = same / rows
        interval = binomtest(same, rows).proportion_ci(0.95, method="wilson")
        passed = share >= policy.min_agreement
        reason = (
            f"{share:.2%} of {rows} logged rows get the same answer as from version {version} in Production; at least "
            f"{policy.min_agreement:.2%} must"
        )
        answers.append(
            _one(
                *(policy, Verdict.PASSED if passed else Verdict.FAILED, reason),
                name=f"same answer for ≥ {policy.min_agreement:.4g} of logged rows",
                measured=share,
                bound=policy.min_agreement,
                interval=(float(interval.low), float(interval.high)),
                **more,
            )
        )
    if policy.max_change is not None:
        if found.change is None:
            raise EvaluationImpossibleError("max_change needs numbers, or class probabilities of both versions")
        worst = float(np.quantile(found.change, policy.quantile, method="inverted_cdf"))
        passed = worst <= policy.max_change
        reason = (
            f"{policy.quantile:.4g} of {rows} logged rows change by at most {worst:.4g} against version {version} in "
            f"Production; at most {policy.max_change:.4g} is allowed"
        )
        verdict = Verdict.INCONCLUSIVE if np.isnan(worst) else Verdict.PASSED if passed else Verdict.FAILED
        answers.append(
            _one(
                *(policy, verdict, reason),
                name=f"|change| ≤ {policy.max_change:g} for {policy.quantile:.4g} of logged rows",
                measured=worst,
                bound=policy.max_change,
                **more,
            )
        )
    if policy.max_cost is not None:
        cost = float(np.mean(costs(policy, found)))
        reason = (
            f"the changed answers cost {cost:.4g} a logged row against version {version} in Production; at most "
            f"{policy.max_cost:.4g} is allowed"
        )
        answers.append(
            _one(
                *(policy, Verdict.PASSED if cost <= policy.max_cost else Verdict.FAILED, reason),
                name=f"cost of changed answers ≤ {policy.max_cost:g} a logged row",
                measured=cost,
                bound=policy.max_cost,
                **more,
            )
        )
    return answers


def costs(policy: BehaviourPolicy, found: Replay) -> "NDArray[np.float64]":
    """Give what each row's change costs: nothing where the answer is the same."""
    import numpy as np

    return np.array(
        [
            0.0 if same else policy.costs.get(str(was), {}).get(str(now), 1.0)
            for was, now, same in zip(found.before.tolist(), found.after.tolist(), found.agree.tolist(), strict=True)
        ]
    )


def _one(policy: BehaviourPolicy, verdict: Verdict, reason: str, name: str | None = None, **more: Any) -> GateResult:
    return GateResult(gate=policy.gate, name=name or policy.title, verdict=verdict, reason=reason, **more)


def _probability_change(
    context: GateContext, champion: JudgedVersion, inputs: "pd.DataFrame"
) -> "NDArray[np.float64] | None":
    """Give the largest change of any class's probability, one a row."""
    import numpy as np

    if context.model_type != "classifier":
        return None
    sides = [(side.scores(inputs), side.classes) for side in (champion, context.candidate)]
    (before, was), (after, now) = sides
    if before is None or after is None or was is None or now is None:
        return None
    labels = {label: column for column, label in enumerate(now.tolist())}
    if set(labels) != set(was.tolist()):
        return None
    moved = np.abs(after[:, [labels[label] for label in was.tolist()]] - before)
    return np.asarray(moved.max(axis=1), dtype=np.float64)


def _details(found: Replay, requests: LoggedRequests, champion: JudgedVersion) -> dict[str, Any]:
    import numpy as np

    told: dict[str, Any] = {
        "agreement": float(found.agree.mean()),
        "first_request_at": str(requests.meta["at"].min()),
        "last_request_at": str(requests.meta["at"].max()),
        "as_logged": _as_logged(found, requests, champion),
    }
    if found.change is not None:
        values = np.quantile(found.change, _QUANTILES, method="inverted_cdf")
        told["change"] = {f"p{100 * q:g}": float(v) for q, v in zip(_QUANTILES, values, strict=True)}
        told["change"]["max"] = float(found.change.max())
    return told


def _as_logged(found: Replay, requests: LoggedRequests, champion: JudgedVersion) -> float | None:
    """Give the share of the champion's own logged answers that the replay gives again: how faithful the replay is."""
    import numpy as np
    import pandas as pd

    own = (requests.meta["version"] == champion.version).to_numpy()
    if list(requests.answers.columns) != ["prediction"] or not own.any():
        return None
    logged = requests.answers["prediction"][own].reset_index(drop=True)
    replayed = pd.Series(found.before[own])
    if pd.api.types.is_numeric_dtype(logged) and pd.api.types.is_numeric_dtype(replayed):
        return float(np.isclose(logged.astype(float), replayed.astype(float), equal_nan=True).mean())
    return float((logged.astype(str) == replayed.astype(str)).mean())


def _changed_rows(policy: BehaviourPolicy, found: Replay, requests: LoggedRequests, context: GateContext) -> str | None:
    """Keep the rows that change most: other answers first, then by how much."""
    import numpy as np
    import pandas as pd

    change = np.zeros(len(found.agree)) if found.change is None else found.change
    order = np.lexsort((-change, found.agree))[: policy.show_rows]
    order = order[~found.agree[order] | (change[order] > 0)]
    if not len(order):
        return None
    table = requests.meta.iloc[order][["request_id", "row", "at"]].reset_index(drop=True)
    table["production"], table["candidate"], table["change"] = found.before[order], found.after[order], change[order]
    inputs = requests.inputs.iloc[order].reset_index(drop=True).add_prefix("input.")
    return context.save_table("behaviour", pd.concat([table, inputs], axis=1))


def _picture(found: Replay, context: GateContext) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    axes = figure.subplots()
    if found.change is None:
        same = int(found.agree.sum())
        axes.barh(["other answer", "same answer"], [len(found.agree) - same, same], color=["#d98e04", "#2f6fb7"])
        axes.set_xlabel("logged rows")
    else:
        ordered = sorted(found.change.tolist())
        axes.plot([(place + 1) / len(ordered) for place in range(len(ordered))], ordered, color="#2f6fb7")
        axes.set_xlabel("share of logged rows")
        axes.set_ylabel("changes by at most")
    return context.save_picture("behaviour", figure)
