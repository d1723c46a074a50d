"""One drift check, the whole story: served version, window, reference, comparison, verdict.

When it is due: `schedule.py`; that it reaches MLflow: `delivery.py`; that it survives a kill -9: `worker.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from drift.columns import guard
from drift.logged import estimated_rows, evenly_sampled, without_personal_data
from drift.performance import realised
from drift.reference import References
from drift.segment_files import WindowRows, read_window
from drift.verdict import decide
from mlflow_ext.domain.drift import DriftCheck, DriftReport, DriftVerdict
from mlflow_ext.domain.privacy import KeyedHash
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.ports import Pointers, RegistryView
from mlflow_ext.store.labels import Labels
from mlflow_ext.store.segments import Segments

SEED = 0
"""Of every sample: the same rows give the same report."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What a check reads.

    Attributes:
        pointers: Which version is served.
        view: The registry.
        index: Where the predictions are.
        labels: What became of them.
        references: What they are compared with.
        policy_of: How a model is watched, as the configuration says now.
        keyed_hash: What hashes personal data, to compare the reference with hashed columns; `None` without its secret.
    """

    pointers: Pointers
    view: RegistryView
    index: Segments
    labels: Labels
    references: References
    policy_of: Callable[[str], ModelPolicy]
    keyed_hash: KeyedHash | None = None


def run_check(check: DriftCheck, sources: Sources) -> tuple[DriftReport, bytes | None]:
    """Check one window.

    Args:
        check: Which model and window.
        sources: What to read.

    Returns:
        The report, and Evidently's report as a snapshot (`None` when nothing was compared).

    Raises:
        NotFoundError: The version or its reference is gone, or was never logged.
        InvalidInputError: The reference cannot be used.
        UnavailableError: Something does not answer; try again later.
    """
    policy = sources.policy_of(check.model)
    version = check.version or _served(check.model, sources.pointers)
    if version is None:
        return _inconclusive(check, None, 0, f"no version of {check.model} is in Production"), None

    read = read_window(sources.index, check.model, version, check.window)
    received = estimated_rows(read)
    rows = evenly_sampled(read)
    if len(rows) < policy.drift.minimum_rows:
        reason = f"{len(rows)} rows in the window, {policy.drift.minimum_rows} are needed"
        if received > len(rows):
            reason = f"{len(rows)} logged rows of some {received} in the window, {policy.drift.minimum_rows} are needed"
        return _inconclusive(check, version, len(rows), reason, received), None

    reference = sources.references.read(sources.view.version(check.model, version), policy.drift.reference)
    there, here = _sample(reference, policy.drift.sample_rows), _sample_window(rows, policy.drift.sample_rows)
    there, seen, withheld = without_personal_data(there, here.inputs, policy.privacy, sources.keyed_hash)
    inputs, decided = guard(there, seen, "data", policy.drift.ignore)
    outputs, others = guard(there, here.outputs, "prediction", policy.drift.ignore)

    # takes seconds in the process's first check: only now is it sure to be needed
    from drift.evidently_report import compare

    title = f"{check.model} version {version}, {check.window}"
    compared, snapshot = compare([*inputs, *outputs], drift_share=policy.drift.drift_share, title=title)
    order = [*rows.inputs.columns, *rows.outputs.columns]
    columns = sorted([*decided, *others, *compared], key=lambda one: (one.kind, order.index(one.column))) + withheld
    verdict, share, reason = decide(columns, policy.drift.drift_share)
    report = DriftReport(
        model=check.model,
        version=version,
        window=check.window,
        verdict=verdict,
        reason=reason,
        window_rows=len(rows),
        received_rows=received,
        reference_rows=len(reference),
        columns=tuple(columns),
        drift_share=share,
        performance=realised(rows.outputs, labels_of(rows, check.model, sources.labels), policy.evaluation.model_type),
    )
    return report, snapshot


def labels_of(rows: WindowRows, model: str, labels: Labels) -> "pd.Series[Any]":
    """Give the label of each row, `None` where no feedback came back."""
    known = labels.of(model, rows.meta["request_id"].tolist())
    keys = zip(rows.meta["request_id"], rows.meta["row"], strict=True)
    return pd.Series([known.get((request, int(row))) for request, row in keys], dtype=object)


def _served(model: str, pointers: Pointers) -> int | None:
    pointer = pointers.get(model)
    return None if pointer is None else pointer.version


def _sample(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    return frame if len(frame) <= rows else frame.sample(rows, random_state=SEED)


def _sample_window(rows: WindowRows, most: int) -> WindowRows:
    if len(rows) <= most:
        return rows
    chosen = rows.meta.sample(most, random_state=SEED).index
    return WindowRows(rows.meta.loc[chosen], rows.inputs.loc[chosen], rows.outputs.loc[chosen])


def _inconclusive(
    check: DriftCheck, version: int | None, rows: int, reason: str, received: int | None = None
) -> DriftReport:
    verdict = DriftVerdict.INCONCLUSIVE
    return DriftReport(check.model, version, check.window, verdict, reason, window_rows=rows, received_rows=received)
