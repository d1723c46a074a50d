"""Does every group get an answer as good as the others? Worst group, demographic parity, equalised odds.

How rows become groups, and the formulas, are in `statistics/groups.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isnan
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.errors import EvaluationImpossibleError, MissingEvidenceError
from mlflow_ext.gate_context import GateContext, JudgedVersion
from mlflow_ext.gates.statistics.bounds import at_most
from mlflow_ext.gates.statistics.groups import groups_of, interval, odds_difference, parity_difference, value_by_group
from mlflow_ext.gates.statistics.measures import (
    Measure,
    answers,
    default_measure,
    measure_named,
    model_columns,
    positive_class,
)
from mlflow_ext.gates.statistics.weak_slices import weakest_slice
from mlflow_ext.policy import GatePolicy

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


_SHOWN = 50
"""Largest groups that the report itself has."""


class SlicesPolicy(GatePolicy):
    """Bounds for what groups of rows get; each bound gives a result.

    Attributes:
        gate: `slices`.
        columns: Columns of the evaluation rows whose values are groups; the model need not see them.
        together: Whether groups are combinations of all columns instead of the values of each.
        bins: A column with more different numbers than this is cut into so many ranges.
        minimum_rows: Smaller groups are shown and decide nothing.
        metric: A measure of rows by MLflow's name; by default accuracy, or the mean absolute error of a regressor.
        max_gap: How much worse than all rows together the worst group may be, in the metric's unit.
        max_loss: How much worse than Production any group may be, in the metric's unit.
        max_parity_difference: Largest demographic parity difference (two classes).
        max_odds_difference: Largest equalised odds difference (two classes).
        max_weak_gap: How much worse than all rows the weakest rows may be that a search finds: a tree of at most three
            conditions, grown on one half of the rows and judged on the other.
        confidence: Of the intervals.
        undecided: What a missed bound means that the interval still holds: it may be chance.
    """

    gate: Literal["slices"] = "slices"
    columns: tuple[str, ...] = ()
    together: bool = False
    bins: int = Field(default=4, ge=2, le=50)
    minimum_rows: int = Field(default=30, ge=2)
    metric: str | None = None
    max_gap: float | None = Field(default=None, ge=0)
    max_loss: float | None = Field(default=None, ge=0)
    max_parity_difference: float | None = Field(default=None, ge=0, le=1)
    max_odds_difference: float | None = Field(default=None, ge=0, le=1)
    max_weak_gap: float | None = Field(default=None, ge=0)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    undecided: Literal["inconclusive", "failed"] = "inconclusive"

    @model_validator(mode="after")
    def _has_a_bound(self) -> "SlicesPolicy":
        bounds = (self.max_gap, self.max_loss, self.max_parity_difference, self.max_odds_difference)
        if all(bound is None for bound in (*bounds, self.max_weak_gap)):
            raise ValueError(
                "a slices gate needs max_gap, max_loss, max_parity_difference, max_odds_difference or max_weak_gap"
            )
        if not self.columns and any(bound is not None for bound in bounds):
            raise ValueError("columns: name those whose values are groups; only max_weak_gap needs none")
        return self

    @property
    def title(self) -> str:
        """What is asked."""
        if not self.columns:
            return "weakest rows"
        return f"groups by {(' and ' if self.together else ', ').join(self.columns)}"


@dataclass(frozen=True, slots=True)
class Finding:
    """The worst that one bound is held against.

    Attributes:
        words: What was found, for people.
        measured: How far apart.
        interval: Its confidence interval.
        column: Which grouping.
        group: Which group, where it is one.
        rows: Number of rows it was measured on.
    """

    words: str
    measured: float
    interval: tuple[float, float]
    column: str
    group: str | None
    rows: int


class SlicesGate:
    """`gate: slices`."""

    policy = SlicesPolicy

    def judge(self, policy: SlicesPolicy, context: GateContext) -> list[GateResult]:
        """Measure every group, and hold the worst against each bound.

        Raises:
            MissingEvidenceError: No group is large enough.
            EvaluationImpossibleError: A column is missing, or the metric cannot be computed.
        """
        name = policy.metric or default_measure(context)
        measure = measure_named(name)
        weakest = [] if policy.max_weak_gap is None else [_search(policy, context, measure, policy.max_weak_gap)]
        if not policy.columns:
            return weakest
        bench = _Bench(policy, context, measure, _groupings(policy, context))
        champion = context.champion if policy.max_loss is not None else None
        table = bench.table(champion)
        asked: list[tuple[float | None, str, Callable[[], Finding]]] = [
            (policy.max_gap, f"{name}: worst group against all rows", bench.gap),
            (policy.max_parity_difference, "demographic parity difference", bench.parity),
            (policy.max_odds_difference, "equalised odds difference", bench.odds),
        ]
        if champion is not None:
            asked.append((policy.max_loss, f"{name}: worst group against Production", partial(bench.loss, champion)))
        more = {
            "evidence": context.save_table("slices", table),
            "picture": _picture(table, name, context),
            # the table among the artifacts has them all
            "details": {"groups": table.nlargest(_SHOWN, "rows").to_dict("records"), "number_of_groups": len(table)},
        }
        results = [_result(policy, bound, title, find(), more) for bound, title, find in asked if bound is not None]
        if policy.max_loss is not None and champion is None:
            results.append(_first(policy, name, more))
        return results + weakest


gate = SlicesGate()


class _Bench:
    """Candidate, rows and groups, and what is measured on them."""

    def __init__(
        self, policy: SlicesPolicy, context: GateContext, measure: Measure, groupings: "dict[str, pd.Series[Any]]"
    ) -> None:
        self._policy = policy
        self._context = context
        self._measure = measure
        self._sign = 1 if measure.greater_is_better else -1
        self._target, self._mine = answers(measure, context.candidate, context)
        self._groupings = groupings
        counts = {column: groups.value_counts() for column, groups in groupings.items()}
        self._large = {
            column: sorted(found.index[found >= policy.minimum_rows].tolist()) for column, found in counts.items()
        }
        if not any(self._large.values()):
            raise MissingEvidenceError(
                f"no group by {', '.join(groupings)} has {policy.minimum_rows} evaluation rows (minimum_rows)"
            )

    def table(self, champion: JudgedVersion | None) -> "pd.DataFrame":
        """Give every group's rows and values, small groups included."""
        import pandas as pd

        theirs = None if champion is None else answers(self._measure, champion, self._context)[1]
        parts = []
        for column, groups in self._groupings.items():
            values = value_by_group(self._value, self._target, self._mine, groups)
            part = pd.DataFrame({"candidate": values})
            if theirs is not None:
                part["production"] = value_by_group(self._value, self._target, theirs, groups)
            part.insert(0, "rows", groups.value_counts())
            part.insert(0, "group", part.index)
            part.insert(0, "column", column)
            part["decides"] = part["rows"] >= self._policy.minimum_rows
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def gap(self) -> Finding:
        """Find the group that is furthest behind all rows together."""
        everybody = self._value(self._target, self._mine)
        worst: Finding | None = None
        for column, group, rows in self._each():
            behind = self._sign * (everybody - self._value(self._target[rows], self._mine[rows]))
            if not isnan(behind) and (worst is None or behind > worst.measured):
                words = f"{column} {group} has {everybody - self._sign * behind:.4g}, all rows together {everybody:.4g}"
                worst = Finding(words, behind, (0.0, 0.0), column, group, len(rows))
        return self._with_interval(worst, lambda rows: self._value(self._target[rows], self._mine[rows]), everybody)

    def loss(self, champion: JudgedVersion) -> Finding:
        """Find the group that loses most against the version in Production."""
        _, theirs = answers(self._measure, champion, self._context)

        def lost(rows: "NDArray[Any]") -> float:
            before, after = (self._value(self._target[rows], side[rows]) for side in (theirs, self._mine))
            return self._sign * (before - after)

        worst: Finding | None = None
        for column, group, rows in self._each():
            found = lost(rows)
            if not isnan(found) and (worst is None or found > worst.measured):
                verb = "loses" if found > 0 else "gains"
                words = f"{column} {group} {verb} {abs(found):.4g} against version {champion.version} in Production"
                worst = Finding(words, found, (0.0, 0.0), column, group, len(rows))
        return self._with_interval(worst, lambda rows: -self._sign * lost(rows), 0.0)

    def parity(self) -> Finding:
        """Find the grouping whose shares of positive answers are furthest apart."""
        return self._apart("shares of positive answers", lambda truth, said, groups: parity_difference(said, groups))

    def odds(self) -> Finding:
        """Find the grouping whose true or false positive rates are furthest apart."""
        return self._apart("true or false positive rates", odds_difference)

    def _apart(self, what: str, difference: Any) -> Finding:
        import numpy as np
        import pandas as pd

        target = self._context.rows[self._context.target].to_numpy()
        positive = positive_class(target)
        truth = (target == positive).astype(int)
        said = (self._context.candidate.predict(self._context.rows) == positive).astype(int)
        worst: Finding | None = None
        for column, large in self._large.items():
            if len(large) < 2:
                continue
            held = np.flatnonzero(self._groupings[column].isin(large).to_numpy())
            t, s = truth[held], said[held]
            g = pd.factorize(self._groupings[column].to_numpy()[held])[0]
            found = difference(t, s, g)
            if worst is None or found > worst.measured:
                reach = interval(
                    lambda rows, t=t, s=s, g=g: difference(t[rows], s[rows], g[rows]),  # type: ignore[misc]
                    len(held),
                    self._policy.confidence,
                )
                worst = Finding(f"{what} by {column} are apart", found, reach, column, None, len(held))
        if worst is None:
            raise MissingEvidenceError(f"fewer than two groups have {self._policy.minimum_rows} evaluation rows")
        return worst

    def _each(self) -> "list[tuple[str, str, NDArray[np.int64]]]":
        import numpy as np

        return [
            (column, group, np.flatnonzero((self._groupings[column] == group).to_numpy()))
            for column, large in self._large.items()
            for group in large
        ]

    def _with_interval(self, worst: Finding | None, value: Any, everybody: float) -> Finding:
        """Resample the worst group's rows; all rows together are taken as known."""
        import numpy as np

        if worst is None:
            raise MissingEvidenceError(f"{self._measure.name} is not a number in any group")
        rows = np.flatnonzero((self._groupings[worst.column] == worst.group).to_numpy())
        low, high = interval(lambda drawn: value(rows[drawn]), len(rows), self._policy.confidence)
        ends = sorted(self._sign * (everybody - end) for end in (low, high))
        return Finding(worst.words, worst.measured, (ends[0], ends[1]), worst.column, worst.group, worst.rows)

    def _value(self, target: "NDArray[Any]", answer: "NDArray[Any]") -> float:
        return self._measure.value(target, answer)


def _groupings(policy: SlicesPolicy, context: GateContext) -> "dict[str, pd.Series[Any]]":
    rows = context.rows
    missing = [column for column in policy.columns if column not in rows.columns]
    if missing:
        raise EvaluationImpossibleError(
            f"the evaluation rows have no column {', '.join(missing)}; they have {', '.join(map(str, rows.columns))}"
        )
    found = {column: groups_of(rows[column], policy.bins) for column in policy.columns}
    if not policy.together or len(found) < 2:
        return found
    together = rows.assign(**found)[list(found)].agg(", ".join, axis=1)
    return {" and ".join(found): together}


def _search(policy: SlicesPolicy, context: GateContext, measure: Measure, bound: float) -> GateResult:
    """Look for rows that are answered worse than the others, with whatever columns the model sees."""
    import numpy as np

    if measure.per_row is None:
        raise EvaluationImpossibleError(f"{measure.name} is no mean of rows, so no rows can be searched by it")
    target, mine = answers(measure, context.candidate, context)
    loss = np.asarray(measure.per_row(target, mine), dtype=np.float64) * (-1 if measure.greater_is_better else 1)
    found = weakest_slice(context.rows[model_columns(context)], loss, minimum_rows=policy.minimum_rows)
    if not len(found.rows):
        raise MissingEvidenceError(
            f"{len(context.rows)} evaluation rows are too few to search; each half needs slices of "
            f"{policy.minimum_rows} (minimum_rows)"
        )
    average = float(loss[found.others].mean())
    weak = loss[found.rows]
    gap = float(weak.mean()) - average
    low, high = interval(lambda drawn: float(weak[drawn].mean()), len(weak), policy.confidence)
    shown = abs(float(weak.mean()))
    words = f"{measure.name} is {shown:.4g} where {found.rule or 'anything holds'}, {abs(average):.4g} over all rows"
    finding = Finding(words, gap, (low - average, high - average), "searched", found.rule, len(weak))
    more = {"evidence": None, "picture": None, "details": {"rule": found.rule}}
    return _result(policy, bound, f"{measure.name}: weakest rows that a search finds", finding, more)


def _result(policy: SlicesPolicy, bound: float, title: str, found: Finding, more: dict[str, Any]) -> GateResult:
    verdict, words = at_most(found.measured, bound, found.interval[0], policy.undecided)
    reason = (
        f"{found.words}: a difference of {found.measured:.4g} ({policy.confidence:.0%} interval "
        f"{found.interval[0]:.4g} to {found.interval[1]:.4g}, {found.rows} rows), {words} the {bound:.4g} "
        "that is allowed"
    )
    return GateResult(
        gate=policy.gate,
        name=f"{title} ≤ {bound:g} ({policy.title})",
        verdict=verdict,
        reason=reason,
        measured=found.measured,
        bound=bound,
        sample_size=found.rows,
        interval=found.interval,
        evidence=more["evidence"],
        picture=more["picture"],
        details={"column": found.column, "group": found.group, **more["details"]},
    )


def _first(policy: SlicesPolicy, name: str, more: dict[str, Any]) -> GateResult:
    return GateResult(
        gate=policy.gate,
        name=f"{name}: worst group against Production ≤ {policy.max_loss:g} ({policy.title})",
        verdict=Verdict.PASSED,
        reason="there is no version in Production that a group could lose against",
        **more,
    )


def _picture(table: "pd.DataFrame", name: str, context: GateContext) -> str:
    from matplotlib.figure import Figure

    shown = table.sort_values("rows", ascending=False).head(24).iloc[::-1]
    figure = Figure(figsize=(6.4, 1.0 + 0.24 * len(shown)), layout="constrained")
    axes = figure.subplots()
    labels = [f"{row.column}: {row.group} ({row.rows})" for row in shown.itertuples()]
    if "production" in shown:
        axes.plot(shown["production"], labels, "o", color="#9aa7b5", label="Production")
    axes.plot(shown["candidate"], labels, "o", color="#2f6fb7", label="candidate")
    axes.set_xlabel(name)
    axes.grid(axis="x", linewidth=0.4)
    axes.legend(fontsize="small", frameon=False)
    return context.save_picture("slices", figure)
