"""Has the candidate seen the rows it is judged on, and is what it has seen what clients send today?

How rows are recognised and columns compared is in `statistics/samples.py`; the watch over production is `drift/`.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.errors import EvaluationImpossibleError, MissingEvidenceError
from mlflow_ext.gate_context import GateContext
from mlflow_ext.gates.statistics.measures import model_columns
from mlflow_ext.gates.statistics.samples import Distance, distances, row_hashes
from mlflow_ext.policy import GatePolicy

if TYPE_CHECKING:
    import pandas as pd

_CONFIDENT = 0.05
"""A column has drifted only where chance explains it less often than this, all columns together."""
_SHOWN = 1_000


class LeakagePolicy(GatePolicy):
    """Bounds for what training data share with evaluation data, and differ from production; each gives a result.

    Attributes:
        gate: `leakage`.
        training: Rows that the candidate was trained on, as `evaluation.data` names rows.
        columns: Columns by which a row is recognised; the model's own where empty.
        max_shared: Largest share of the evaluation rows that occur in the training data.
        max_drifted: Largest share of the columns in which production has moved away from the training data.
        distance: How far apart a column must be to count as moved, from 0 to 1.
        requests: How many of the last logged rows stand for production.
        minimum_rows: Fewer training rows, or logged rows, are inconclusive.
    """

    gate: Literal["leakage"] = "leakage"
    training: str = "artifact:data/reference.parquet"
    columns: tuple[str, ...] = ()
    max_shared: float | None = Field(default=None, ge=0, le=1)
    max_drifted: float | None = Field(default=None, ge=0, le=1)
    distance: float = Field(default=0.1, gt=0, le=1)
    requests: int = Field(default=2_000, ge=20, le=100_000)
    minimum_rows: int = Field(default=100, ge=2)

    @model_validator(mode="after")
    def _has_a_bound(self) -> "LeakagePolicy":
        if self.max_shared is None and self.max_drifted is None:
            raise ValueError("a leakage gate needs max_shared or max_drifted")
        return self

    @property
    def requests_wanted(self) -> int:
        """How many rows of logged requests it wants."""
        return 0 if self.max_drifted is None else self.requests


class LeakageGate:
    """`gate: leakage`."""

    policy = LeakagePolicy

    def judge(self, policy: LeakagePolicy, context: GateContext) -> list[GateResult]:
        """Compare the training rows with the evaluation rows, and with what clients sent lately.

        Raises:
            MissingEvidenceError: There are no training rows, or too few.
            EvaluationImpossibleError: They lack columns.
        """
        training = context.read_rows(policy.training)
        if len(training) < policy.minimum_rows:
            raise MissingEvidenceError(
                f"{policy.training} has {len(training)} rows, and {policy.minimum_rows} are asked for (minimum_rows)"
            )
        columns = list(policy.columns) or model_columns(context)
        _check(training, columns, f"the training data {policy.training}")
        results = []
        if policy.max_shared is not None:
            results.append(_shared(policy, policy.max_shared, training, columns, context))
        if policy.max_drifted is not None:
            results.append(_drifted(policy, policy.max_drifted, training, columns, context))
        return results


gate = LeakageGate()


def _shared(
    policy: LeakagePolicy, bound: float, training: "pd.DataFrame", columns: list[str], context: GateContext
) -> GateResult:
    import numpy as np
    import pandas as pd

    _check(context.rows, columns, "the evaluation data")
    known, asked = training[columns], context.rows[columns]
    seen, rows = row_hashes(known, asked), row_hashes(asked, known)
    values, times = np.unique(seen, return_counts=True)
    found = np.flatnonzero(np.isin(rows, values))
    share = len(found) / len(rows)
    often = times[np.searchsorted(values, rows[found])]
    repeated = 1 - len(np.unique(rows)) / len(rows)
    table = pd.DataFrame({"evaluation_row": found, "training_rows": often}).head(_SHOWN)
    failed = share > bound
    return GateResult(
        gate=policy.gate,
        name=f"evaluation rows that occur in the training data ≤ {bound:g}",
        verdict=Verdict.FAILED if failed else Verdict.PASSED,
        reason=(
            f"{len(found)} of {len(rows)} evaluation rows ({share:.2%}) occur among the {len(training)} training rows "
            f"of {policy.training}, by {len(columns)} columns; at most {bound:.2%} may"
        ),
        measured=share,
        bound=bound,
        sample_size=len(rows),
        evidence=context.save_table("leakage", table) if len(found) else None,
        details={
            "columns": columns,
            "training_rows": len(training),
            # where rows repeat among themselves, some are alike by chance as well
            "evaluation_rows_that_repeat": repeated,
        },
    )


def _drifted(
    policy: LeakagePolicy, bound: float, training: "pd.DataFrame", columns: list[str], context: GateContext
) -> GateResult:
    name = f"columns in which production has moved away from the training data ≤ {bound:g}"
    try:
        sent = context.requests.inputs.head(policy.requests)
    except MissingEvidenceError as exc:
        return GateResult(policy.gate, name, Verdict.INCONCLUSIVE, str(exc))
    if len(sent) < policy.minimum_rows:
        reason = f"{len(sent)} rows are logged, and {policy.minimum_rows} are asked for (minimum_rows)"
        return GateResult(policy.gate, name, Verdict.INCONCLUSIVE, reason)
    both = [column for column in columns if column in sent.columns]
    found = distances(training[both], sent[both])
    if not found:
        reason = "the logged rows have none of the columns that the training data have"
        return GateResult(policy.gate, name, Verdict.INCONCLUSIVE, reason)
    moved = [one for one in found if one.distance > policy.distance and one.p_value * len(found) < _CONFIDENT]
    share = len(moved) / len(found)
    named = ", ".join(f"{one.column} ({one.distance:.2g})" for one in moved[:3])
    more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
    return GateResult(
        gate=policy.gate,
        name=name,
        verdict=Verdict.FAILED if share > bound else Verdict.PASSED,
        reason=(
            f"{len(moved)} of {len(found)} columns ({share:.0%}) of the last {len(sent)} logged rows are further than "
            f"{policy.distance:g} from the training data"
            f"{': ' + named + more if moved else ''}; at most {bound:.0%} may be"
        ),
        measured=share,
        bound=bound,
        sample_size=len(sent),
        picture=_picture(found, policy.distance, context),
        details={
            "columns": [
                {"column": one.column, "distance": one.distance, "p_value": one.p_value, "method": one.method}
                for one in found
            ]
        },
    )


def _check(frame: "pd.DataFrame", columns: list[str], named: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise EvaluationImpossibleError(f"{named} lack the columns {', '.join(missing)}")


def _picture(found: list[Distance], threshold: float, context: GateContext) -> str:
    from matplotlib.figure import Figure

    shown = found[:24][::-1]
    figure = Figure(figsize=(6.4, 1.0 + 0.24 * len(shown)), layout="constrained")
    axes = figure.subplots()
    colours = ["#a4262c" if one.distance > threshold else "#2f6fb7" for one in shown]
    axes.barh([one.column for one in shown], [one.distance for one in shown], color=colours)
    axes.axvline(threshold, color="#d98e04", label="counts as moved")
    axes.set_xlim(0, 1)
    axes.set_xlabel("distance of production from the training data")
    axes.legend(fontsize="small", frameon=False)
    return context.save_picture("leakage", figure)
