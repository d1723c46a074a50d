"""One drift check, the whole story: served version, window, reference, verdict, root cause, performance.

How a window is compared: `comparing.py`. When it is due: `schedule.py`; that it reaches MLflow: `delivery.py`; that it
survives a kill -9: `worker.py`.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from drift.comparing import Compared, compare_window, for_eyes, inconclusive, rules_of
from drift.estimates.estimate import estimate
from drift.performance import realised
from drift.performance_bounds import judged
from drift.sampling import labelled
from drift.sliced_performance import performance_of_slices
from drift.sources import Sources
from drift.window import WindowLog
from mlflow_ext.domain.drift import DriftCheck, DriftReport, DriftVerdict
from mlflow_ext.domain.root_cause import RootCause
from mlflow_ext.errors import UnavailableError
from mlflow_ext.policy import DriftPolicy, ModelPolicy
from mlflow_ext.ports import Pointers

_log = logging.getLogger(__name__)


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
        return inconclusive(check, None, f"no version of {check.model} is in Production"), None

    log = WindowLog(sources.index, sources.partials, check.model, version, check.window)
    compared = compare_window(check, version, log, sources, policy)
    if isinstance(compared, DriftReport):
        return compared, None
    verdict, reason = compared.report.verdict, compared.report.reason
    if policy.drift.last_windows > 1:
        before = sources.before(check, version, policy.drift.last_windows - 1)
        verdict, reason = confirmed(verdict, reason, [one.found_drift for one in before], policy.drift)
    cause = None
    if verdict is DriftVerdict.DRIFT:
        cause = _cause(compared, policy, log)
        reason = f"{reason}. {_sentence(cause.headline)}" if cause is not None and cause.headline else reason
    own, snapshot = for_eyes(compared, policy)
    reference, sample = compared.reference, compared.sample
    expected = estimate(
        reference.sample, sample.inputs, sample.outputs, policy.evaluation.target, policy.evaluation.model_type
    )
    report = replace(
        compared.report,
        verdict=verdict,
        reason=reason,
        estimated=expected.metrics,
        estimate_note=expected.note,
        evidently=own,
        root_cause=cause,
    )
    return measured(report, log, sources, policy, compared.share), snapshot


def measured(
    report: DriftReport, log: WindowLog, sources: Sources, policy: ModelPolicy, share: float | None
) -> DriftReport:
    """Give a report with realised performance, by the labels there are now, also of its slices, and its verdict.

    Args:
        report: What is known of the window.
        log: Its rows.
        sources: What became of them.
        policy: What the model is, and where its metrics are bad.
        share: Smallest share by which the window was logged, where there are several.

    Raises:
        UnavailableError: A segment, or PostgreSQL, cannot be read.
    """
    rows = labelled(log, sources.labels, share, {one.column for one in report.slices})
    performance = realised(rows.outputs, rows.labels, policy.evaluation.model_type, report.window_rows)
    if len(rows.lags_s):
        performance["label_lag_s"] = float(np.median(rows.lags_s))
    slices = report.slices and performance_of_slices(report.slices, rows, policy, sources.profiles.keyed_hash)
    return judged(replace(report, performance=performance, slices=slices), policy.drift.performance)


def confirmed(
    verdict: DriftVerdict, reason: str, before: Sequence[bool], policy: DriftPolicy
) -> tuple[DriftVerdict, str]:
    """Ask for drift in several of the last windows.

    Args:
        verdict: Of this window.
        reason: Why.
        before: Whether each of the windows before drifted.
        policy: In how many of how many.
    """
    here = verdict is DriftVerdict.DRIFT
    count = sum(before) + here
    if not count:
        return verdict, reason
    said = f"{reason}; drift in {count} of the last {len(before) + 1} windows, {policy.drifted_windows} are needed"
    if count >= policy.drifted_windows:
        return DriftVerdict.DRIFT, said
    return (DriftVerdict.OK if here else verdict), said


def _cause(compared: Compared, policy: ModelPolicy, log: WindowLog) -> RootCause | None:
    """Find why a window drifted; that nothing is found costs nobody the verdict.

    Raises:
        UnavailableError: PostgreSQL does not answer.
    """
    # scikit-learn comes with it: not for windows that did not drift
    from drift.causes.hours import hours_of
    from drift.causes.root_cause import Evidence, root_cause_of

    columns, reference, sample = compared.comparison.columns, compared.reference, compared.sample
    drifted = [one.column for one in columns if one.drifted and one.kind == "data"]
    try:
        hours = hours_of(log, reference.profile, compared.window, drifted)
        return root_cause_of(
            Evidence(columns, reference.sample, sample.inputs, sample.outputs, hours, rules_of(policy.drift))
        )
    except UnavailableError:
        raise
    except Exception:  # whatever odd values its trees meet, the drift is there and has to be told
        _log.exception("drift.no_root_cause model=%s window=%s", log.model, log.window)
        return None


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _served(model: str, pointers: Pointers) -> int | None:
    pointer = pointers.get(model)
    return None if pointer is None else pointer.version
