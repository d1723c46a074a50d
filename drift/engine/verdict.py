"""From columns to the answer: drift, ok or inconclusive, and one sentence why. The comparison is `comparison.py`'s."""

import math
from collections.abc import Sequence

from scipy.special import ndtri

from drift.engine.comparison import Comparison
from drift.engine.rules import Rules
from mlflow_ext.domain.drift import ColumnDrift, DriftVerdict

_RANK_SUM_EFFICIENCY = 3 / math.pi
"""Of the rank sum against the best test of a shift of a normal distribution (Pitman)."""


def decide(
    comparison: Comparison, rules: Rules, *, window_rows: int, reference_rows: int
) -> tuple[DriftVerdict, float | None, str]:
    """Decide about a window.

    Args:
        comparison: Its columns.
        rules: How sure the answer has to be.
        window_rows: Rows of the window.
        reference_rows: Rows of the reference.

    Returns:
        The verdict, the weighted share of compared inputs that drifted (`None` when none was compared), and the reason.
    """
    columns = comparison.columns
    inputs = [one for one in columns if one.kind == "data" and one.compared]
    outputs = [one for one in columns if one.kind == "prediction" and one.compared]
    if not inputs and not outputs:
        notes = "; ".join(f"{one.column}: {one.note}" for one in columns if one.note)
        return DriftVerdict.INCONCLUSIVE, None, f"no column could be compared ({notes or 'there is none'})"
    drifted = [one.column for one in inputs if one.drifted]
    share = _weight(inputs, rules, drifted=True) / (_weight(inputs, rules) or 1.0) if inputs else None
    said = f"{len(drifted)} of {len(inputs)} input columns drifted"
    if drifted:
        said += f" ({', '.join(drifted[:5])}{', …' if len(drifted) > 5 else ''})"
    predictions = [one.column for one in outputs if one.drifted]
    if predictions:
        said += f"; {', '.join(predictions)} drifted"
    if together := [one.method for one in columns if one.kind == "multivariate" and one.drifted]:
        said += f"; the inputs together drifted ({', '.join(together)})"
    if (
        predictions
        or together
        or (_any(drifted, rules) if not rules.drift_share else (share or 0) >= rules.drift_share)
    ):
        return DriftVerdict.DRIFT, share, said
    needed = rows_needed(reference_rows, comparison.hypotheses, rules)
    if window_rows < needed:
        least = f"{needed} are needed" if math.isfinite(needed) else "the reference is too small for any window"
        said += (
            f", but {window_rows} rows would not show a shift of {rules.smallest_shift:g} standard deviations "
            f"with a chance of {rules.power:.0%}: {least}"
        )
        return DriftVerdict.INCONCLUSIVE, share, said
    return DriftVerdict.OK, share, said


def rows_needed(reference_rows: int, hypotheses: int, rules: Rules) -> float:
    """Give the smallest window that shows the rules' smallest shift of one column with their power.

    From the rank sum's power against a shifted normal distribution, at the level that the correction leaves to the
    column that has drifted.

    Returns:
        Rows; infinity when the reference has too few for any window.
    """
    # two tests a column, two sides each
    level = rules.alpha / max(1, hypotheses) / 4
    quantiles = float(-ndtri(level) + ndtri(rules.power))
    size = (quantiles / rules.smallest_shift) ** 2 / _RANK_SUM_EFFICIENCY
    return math.ceil(size * reference_rows / (reference_rows - size)) if reference_rows > size else math.inf


def _weight(columns: Sequence[ColumnDrift], rules: Rules, *, drifted: bool = False) -> float:
    return sum(rules.weight_of(one.column) for one in columns if one.drifted or not drifted)


def _any(drifted: Sequence[str], rules: Rules) -> bool:
    """Tell whether any column drifted that nobody said weighs nothing, whatever the model makes of it."""
    return any(rules.weights.get(name, 1.0) > 0 for name in drifted)
