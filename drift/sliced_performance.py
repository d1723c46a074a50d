"""Realised performance of the slices that policy names, over the window's rows with feedback."""

from collections.abc import Sequence
from dataclasses import replace

from drift.performance import realised
from drift.profiles import hashes_of
from drift.sampling import LabelledRows
from drift.slices import rows_in
from mlflow_ext.domain.drift import SliceReport
from mlflow_ext.domain.privacy import KeyedHash
from mlflow_ext.policy import ModelPolicy


def performance_of_slices(
    slices: Sequence[SliceReport], rows: LabelledRows, policy: ModelPolicy, keyed_hash: KeyedHash | None
) -> tuple[SliceReport, ...]:
    """Give slices with their realised metrics.

    Args:
        slices: The slices.
        rows: All labelled rows of the window, with the slices' columns: not a sample.
        policy: What the model is, and which columns are hashed.
        keyed_hash: What hashes personal data; `None` without its secret.
    """
    hashes = hashes_of(policy, keyed_hash)
    found = []
    for part in slices:
        performance: dict[str, float] = {}
        if part.column in rows.inputs:
            column = rows.inputs[part.column]
            if part.column in hashes:
                column = column.astype(object).map(hashes[part.column], na_action="ignore")
            inside = rows_in(part, column)
            outputs, labels = rows.outputs.loc[inside], rows.labels[inside]
            performance = realised(outputs, labels, policy.evaluation.model_type)
            # of the labelled rows all are
            performance.pop("labelled_share")
        found.append(replace(part, performance=performance))
    return tuple(found)
