"""From columns to the answer: drift, ok or inconclusive, and one sentence why. The comparison is made elsewhere."""

from collections.abc import Sequence

from mlflow_ext.domain.drift import ColumnDrift, DriftVerdict


def decide(columns: Sequence[ColumnDrift], drift_share: float) -> tuple[DriftVerdict, float | None, str]:
    """Decide by the share of drifted inputs, or by a drifted prediction.

    Args:
        columns: One entry a column.
        drift_share: Share of compared inputs, 0 to 1, from which on the window has drifted.

    Returns:
        The verdict, the share of compared inputs that drifted (`None` when none was compared), and the reason.
    """
    inputs = [one for one in columns if one.kind == "data" and one.compared]
    outputs = [one for one in columns if one.kind == "prediction" and one.compared]
    if not inputs and not outputs:
        notes = "; ".join(f"{one.column}: {one.note}" for one in columns if one.note)
        return DriftVerdict.INCONCLUSIVE, None, f"no column could be compared ({notes or 'there is none'})"
    drifted = [one.column for one in inputs if one.drifted]
    share = len(drifted) / len(inputs) if inputs else None
    said = f"{len(drifted)} of {len(inputs)} input columns drifted"
    if drifted:
        said += f" ({', '.join(drifted[:5])}{', …' if len(drifted) > 5 else ''})"
    predictions = [one.column for one in outputs if one.drifted]
    if predictions:
        said += f"; {', '.join(predictions)} drifted"
    if predictions or (share is not None and share >= drift_share):
        return DriftVerdict.DRIFT, share, said
    return DriftVerdict.OK, share, said
