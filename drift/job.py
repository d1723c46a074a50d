"""One drift check, the whole story: served version, window, reference, statistics, verdict, and the report for eyes.

When it is due: `schedule.py`; that it reaches MLflow: `delivery.py`; that it survives a kill -9: `worker.py`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from drift.columns import guard
from drift.engine.comparison import Comparison, compare
from drift.engine.multivariate import measure
from drift.engine.rules import Rules
from drift.engine.statistics import WindowStatistics
from drift.engine.verdict import decide
from drift.estimated import estimate
from drift.performance import realised
from drift.performance_bounds import judged
from drift.profiles import KeptReference, Profiles
from drift.sampling import labelled, sample_of
from drift.segment_files import WindowRows
from drift.weights import Importances, importance_in, weighed, with_weights, words
from drift.window import NOTHING, WindowLog
from mlflow_ext.domain.drift import ColumnDrift, DriftCheck, DriftReport, DriftVerdict
from mlflow_ext.domain.importance import ColumnImportance
from mlflow_ext.domain.privacy import is_hash
from mlflow_ext.domain.root_cause import RootCause
from mlflow_ext.errors import UnavailableError
from mlflow_ext.policy import DriftPolicy, ModelPolicy, PrivacyPolicy
from mlflow_ext.ports import Pointers, RegistryView
from mlflow_ext.store.labels import Labels
from mlflow_ext.store.partials import Partials
from mlflow_ext.store.segments import Segments

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sources:
    """What a check reads.

    Attributes:
        pointers: Which version is served.
        view: The registry.
        index: Where the predictions are.
        partials: What is already counted of them.
        labels: What became of them.
        profiles: What they are compared with.
        importances: What the versions' models say about their columns.
        policy_of: How a model is watched, as the configuration says now.
        before: Gives the reports on the windows before a check's.
    """

    pointers: Pointers
    view: RegistryView
    index: Segments
    partials: Partials
    labels: Labels
    profiles: Profiles
    importances: Importances
    policy_of: Callable[[str], ModelPolicy]
    before: Callable[[DriftCheck, int, int], Sequence[DriftReport]]


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
        return _inconclusive(check, None, f"no version of {check.model} is in Production"), None

    log = WindowLog(sources.index, sources.partials, check.model, version, check.window)
    if sum(one.rows for one in log.segments()) < policy.drift.minimum_rows:
        # told without a reference: there may be none
        return _too_few(check, version, log.statistics(NOTHING, {}), policy.drift), None
    reference = sources.profiles.of(sources.view.version(check.model, version), policy)
    logged = log.statistics(reference.profile, reference.hashes)
    share = min(logged.shares, default=1.0)
    several = len(logged.shares) > 1
    window = log.thinned(reference.profile, reference.hashes, share) if several else logged
    if window.rows < policy.drift.minimum_rows:
        return _too_few(check, version, replace(window, shares=logged.shares), policy.drift), None

    sample = _like_reference(sample_of(log, policy.drift.sample_rows, share if several else None), reference)
    compared, withheld = _compare(reference, window, sample, policy)
    inputs = [one.column for one in compared.columns if one.kind == "data" and one.compared]
    importance = ColumnImportance()
    if policy.drift.weights_from == "model":
        told = sources.importances.of(sources.view.version(check.model, version))
        importance = importance_in(told, inputs, reference.profile.columns.keys() | policy.privacy.names)
    rules = weighed(rules_of(policy.drift), importance, inputs)
    verdict, drifted, reason = decide(compared, rules, window_rows=window.rows, reference_rows=reference.profile.rows)
    found = verdict is DriftVerdict.DRIFT
    if policy.drift.last_windows > 1:
        before = sources.before(check, version, policy.drift.last_windows - 1)
        verdict, reason = confirmed(verdict, reason, [one.found_drift for one in before], policy.drift)
    cause = None
    if verdict is DriftVerdict.DRIFT:
        cause = _cause(compared, reference, window, sample, policy, log)
        reason = f"{reason}. {_sentence(cause.headline)}" if cause is not None and cause.headline else reason
    title = f"{check.model} version {version}, {check.window}"
    own, snapshot = _for_eyes(reference, sample, policy, title)
    expected = estimate(reference.sample, sample.outputs, policy.evaluation.target, policy.evaluation.model_type)
    report = DriftReport(
        model=check.model,
        version=version,
        window=check.window,
        verdict=verdict,
        reason=reason,
        window_rows=window.rows,
        received_rows=logged.received,
        reference_rows=reference.profile.rows,
        columns=(*with_weights(compared.columns, rules), *withheld),
        drift_share=drifted,
        found_drift=found,
        estimated=expected.metrics,
        estimate_note=expected.note,
        evidently=own,
        root_cause=cause,
        weights_note=words(policy.drift, importance),
    )
    return measured(report, log, sources.labels, policy, share if several else None), snapshot


def measured(
    report: DriftReport, log: WindowLog, labels: Labels, policy: ModelPolicy, share: float | None
) -> DriftReport:
    """Give a report with realised performance, by the labels there are now, and its verdict.

    Args:
        report: What is known of the window.
        log: Its rows.
        labels: What became of them.
        policy: What the model is, and where its metrics are bad.
        share: Smallest share by which the window was logged, where there are several.

    Raises:
        UnavailableError: A segment, or PostgreSQL, cannot be read.
    """
    rows = labelled(log, labels, share)
    performance = realised(rows.outputs, rows.labels, policy.evaluation.model_type, report.window_rows)
    if len(rows.lags_s):
        performance["label_lag_s"] = float(np.median(rows.lags_s))
    return judged(replace(report, performance=performance), policy.drift.performance)


def rules_of(policy: DriftPolicy) -> Rules:
    """Give a policy's rules."""
    return Rules(
        alpha=policy.alpha,
        correction=policy.correction,
        least_effect=policy.least_effect,
        number_method=policy.number_method,
        category_method=policy.category_method,
        smallest_shift=policy.smallest_shift,
        power=policy.power,
        drift_share=policy.drift_share,
        weights=policy.weights,
        ignore=frozenset(policy.ignore),
    )


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


def _compare(
    reference: KeptReference, window: WindowStatistics, sample: WindowRows, policy: ModelPolicy
) -> tuple[Comparison, list[ColumnDrift]]:
    """Compare the window, and tell which columns privacy withholds."""
    rules = rules_of(policy.drift)
    withheld = _withheld(policy.privacy, reference)
    for name in sample.inputs.columns:
        known = name in reference.hashes or name in withheld
        if not known and sample.inputs[name].map(is_hash).any():
            withheld[name] = "hashed in the log, by a policy of before"
    rules = replace(rules, ignore=rules.ignore | withheld.keys())
    rows = sample.inputs.drop(columns=[name for name in rules.ignore if name in sample.inputs])
    together = measure(policy.drift.multivariate, reference.sample, rows) if policy.drift.multivariate else []
    compared = compare(reference.profile, window, rules, together)
    notes = [ColumnDrift(name, "data", "not_compared", None, None, False, note) for name, note in withheld.items()]
    return compared, notes


def _cause(
    compared: Comparison,
    reference: KeptReference,
    window: WindowStatistics,
    sample: WindowRows,
    policy: ModelPolicy,
    log: WindowLog,
) -> RootCause | None:
    """Find why a window drifted; that nothing is found costs nobody the verdict.

    Raises:
        UnavailableError: PostgreSQL does not answer.
    """
    # scikit-learn comes with it: not for windows that did not drift
    from drift.causes.hours import hours_of
    from drift.causes.root_cause import Evidence, root_cause_of

    drifted = [one.column for one in compared.columns if one.drifted and one.kind == "data"]
    try:
        hours = hours_of(log, reference.profile, window, drifted)
        return root_cause_of(
            Evidence(compared.columns, reference.sample, sample.inputs, sample.outputs, hours, rules_of(policy.drift))
        )
    except UnavailableError:
        raise
    except Exception:  # whatever odd values its trees meet, the drift is there and has to be told
        _log.exception("drift.no_root_cause model=%s window=%s", log.model, log.window)
        return None


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _withheld(privacy: PrivacyPolicy, reference: KeptReference) -> dict[str, str]:
    withheld = dict.fromkeys(privacy.drop, "dropped before it was logged (policy privacy.drop)")
    for name in privacy.hash:
        if name not in reference.hashes:
            withheld.setdefault(name, "hashed, and the setting privacy_key is not set here")
    return withheld


def _for_eyes(
    reference: KeptReference, sample: WindowRows, policy: ModelPolicy, title: str
) -> tuple[dict[str, float], bytes | None]:
    """Give Evidently's verdict and report on both samples."""
    left_out = {*policy.drift.ignore, *_withheld(policy.privacy, reference)}
    columns, _ = guard(reference.sample, sample.inputs, "data", left_out)
    others, _ = guard(reference.sample, sample.outputs, "prediction", left_out)

    # takes seconds in the process's first check: only now is it sure to be needed
    from drift.evidently_report import compare as shown

    return shown([*columns, *others], title=title)


def _like_reference(sample: WindowRows, reference: KeptReference) -> WindowRows:
    """Give the sample with inputs hashed where the reference is."""
    inputs = sample.inputs.copy(deep=False)
    for name, hashed in reference.hashes.items():
        if name in inputs:
            inputs[name] = inputs[name].astype(object).map(hashed, na_action="ignore")
    return replace(sample, inputs=inputs)


def _served(model: str, pointers: Pointers) -> int | None:
    pointer = pointers.get(model)
    return None if pointer is None else pointer.version


def _too_few(check: DriftCheck, version: int, window: WindowStatistics, policy: DriftPolicy) -> DriftReport:
    reason = f"{window.rows} rows in the window, {policy.minimum_rows} are needed"
    if window.received > window.rows:
        reason = f"{window.rows} logged rows of some {window.received} in the window, {policy.minimum_rows} are needed"
    return replace(_inconclusive(check, version, reason), window_rows=window.rows, received_rows=window.received)


def _inconclusive(check: DriftCheck, version: int | None, reason: str) -> DriftReport:
    return DriftReport(check.model, version, check.window, DriftVerdict.INCONCLUSIVE, reason)
