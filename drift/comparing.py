"""One window against one version's reference: statistics, sample, verdict, and the report for eyes.

What is made of it: `job.py` for the data over time, `skew.py` for a version's beginning.
"""

from dataclasses import dataclass, replace

from drift.columns import guard
from drift.engine.comparison import Comparison, Examined, answered, examined
from drift.engine.multivariate import measure
from drift.engine.rules import Rules
from drift.engine.statistics import WindowStatistics
from drift.engine.verdict import decide
from drift.profiles import KeptReference
from drift.sampling import sample_of
from drift.segment_files import WindowRows
from drift.slices import ExaminedSlice, Side, examine_slices, judged, slices_of
from drift.slices import words as slice_words
from drift.sources import Sources
from drift.weights import importance_in, weighed, with_weights, words
from drift.window import NOTHING, WindowLog
from mlflow_ext.domain.drift import ColumnDrift, DriftCheck, DriftReport, DriftVerdict
from mlflow_ext.domain.importance import ColumnImportance
from mlflow_ext.domain.privacy import is_hash
from mlflow_ext.policy import DriftPolicy, ModelPolicy, PrivacyPolicy


@dataclass(frozen=True)
class Compared:
    """A window that was compared.

    Attributes:
        report: Verdict and columns.
        comparison: The columns, before anything was said about them.
        reference: What it was compared with.
        window: Its counts.
        sample: Some of its rows, hashed where the reference is.
        share: Smallest share by which the window was logged, where there are several.
    """

    report: DriftReport
    comparison: Comparison
    reference: KeptReference
    window: WindowStatistics
    sample: WindowRows
    share: float | None


def compare_window(
    check: DriftCheck, version: int, log: WindowLog, sources: Sources, policy: ModelPolicy
) -> Compared | DriftReport:
    """Compare a window with the reference of a version.

    Args:
        check: What is checked.
        version: Whose reference.
        log: The window. Of rows that another version was asked only inputs are compared.
        sources: What to read.
        policy: How the model is watched.

    Returns:
        The comparison; a report only where the window has too few rows.

    Raises:
        NotFoundError: The version or its reference is gone, or was never logged.
        InvalidInputError: The reference cannot be used.
        UnavailableError: Something does not answer; try again later.
    """
    if sum(one.rows for one in log.segments()) < policy.drift.minimum_rows:
        # told without a reference: there may be none
        return _too_few(check, version, log.statistics(NOTHING, {}), policy.drift)
    registered = sources.view.version(check.model, version)
    reference = sources.profiles.of(registered, policy)
    logged = log.statistics(reference.profile, reference.hashes)
    several = len(logged.shares) > 1
    share = min(logged.shares) if several else None
    window = logged if share is None else log.thinned(reference.profile, reference.hashes, share)
    if window.rows < policy.drift.minimum_rows:
        return _too_few(check, version, replace(window, shares=logged.shares), policy.drift)
    if log.version != version:
        window = replace(window, columns={key: one for key, one in window.columns.items() if key[0] == "data"})

    sample = _like_reference(sample_of(log, policy.drift.sample_rows, share), reference)
    whole, withheld = _examined(reference, window, sample, policy)
    parts = _slices(reference, sample, whole, policy) if policy.drift.slices and log.version == version else []
    comparison, *of_slices = answered(
        [whole, *(one.tests for one in parts if one.tests is not None)], rules_of(policy.drift)
    )
    inputs = [one.column for one in comparison.columns if one.kind == "data" and one.compared]
    importance = ColumnImportance()
    if policy.drift.weights_from == "model":
        known_elsewhere = reference.profile.columns.keys() | policy.privacy.names
        importance = importance_in(sources.importances.of(registered), inputs, known_elsewhere)
    rules = weighed(rules_of(policy.drift), importance, inputs)
    verdict, drifted, reason = decide(comparison, rules, window_rows=window.rows, reference_rows=reference.profile.rows)
    answers = iter(of_slices)
    slices = tuple(judged(one, None if one.tests is None else next(answers), rules) for one in parts)
    if said := slice_words(slices):
        verdict, reason = DriftVerdict.DRIFT, f"{reason}; {said}"
    report = DriftReport(
        model=check.model,
        version=version,
        window=check.window,
        verdict=verdict,
        reason=reason,
        window_rows=window.rows,
        received_rows=logged.received,
        reference_rows=reference.profile.rows,
        columns=(*with_weights(comparison.columns, rules), *withheld),
        drift_share=drifted,
        found_drift=verdict is DriftVerdict.DRIFT,
        weights_note=words(policy.drift, importance),
        kind=check.kind,
        rows_version=check.rows_version,
        slices=slices,
    )
    return Compared(report, comparison, reference, window, sample, share)


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


def for_eyes(compared: Compared, policy: ModelPolicy) -> tuple[dict[str, float], bytes | None]:
    """Give Evidently's verdict and report on samples of both sides."""
    reference, sample, report = compared.reference, compared.sample, compared.report
    left_out = {*policy.drift.ignore, *_withheld(policy.privacy, reference)}
    columns, _ = guard(reference.sample, sample.inputs, "data", left_out)
    others, _ = guard(reference.sample, sample.outputs, "prediction", left_out)
    if report.rows_version is not None:
        others = []

    # takes seconds in the process's first check: only now is it sure to be needed
    from drift.evidently_report import compare as shown

    return shown([*columns, *others], title=f"{report.model} version {report.version}, {report.window}")


def inconclusive(check: DriftCheck, version: int | None, reason: str) -> DriftReport:
    """Give a report that says only why there is no other."""
    return DriftReport(
        *(check.model, version, check.window, DriftVerdict.INCONCLUSIVE, reason),
        kind=check.kind,
        rows_version=check.rows_version,
    )


def _examined(
    reference: KeptReference, window: WindowStatistics, sample: WindowRows, policy: ModelPolicy
) -> tuple[Examined, list[ColumnDrift]]:
    """Test the window's columns, and tell which ones privacy withholds."""
    rules = rules_of(policy.drift)
    withheld = _withheld(policy.privacy, reference)
    for name in sample.inputs.columns:
        known = name in reference.hashes or name in withheld
        if not known and sample.inputs[name].map(is_hash).any():
            withheld[name] = "hashed in the log, by a policy of before"
    rules = replace(rules, ignore=rules.ignore | withheld.keys())
    rows = sample.inputs.drop(columns=[name for name in rules.ignore if name in sample.inputs])
    together = measure(policy.drift.multivariate, reference.sample, rows) if policy.drift.multivariate else []
    notes = [ColumnDrift(name, "data", "not_compared", None, None, False, note) for name, note in withheld.items()]
    return examined(reference.profile, window, rules, together), notes


def _slices(reference: KeptReference, sample: WindowRows, whole: Examined, policy: ModelPolicy) -> list[ExaminedSlice]:
    kept = reference.sample
    outputs = [name for name in sample.outputs if name in kept]
    names = [name for kind, name in sorted({key for key, _ in whole.tests}) if kind == "data"]
    found = slices_of(policy.drift.slices, kept, reference.hashes)
    sides = Side(kept, kept[outputs]), Side(sample.inputs, sample.outputs)
    return examine_slices(found, *sides, names, rules_of(policy.drift))


def _withheld(privacy: PrivacyPolicy, reference: KeptReference) -> dict[str, str]:
    withheld = dict.fromkeys(privacy.drop, "dropped before it was logged (policy privacy.drop)")
    for name in privacy.hash:
        if name not in reference.hashes:
            withheld.setdefault(name, "hashed, and the setting privacy_key is not set here")
    return withheld


def _like_reference(sample: WindowRows, reference: KeptReference) -> WindowRows:
    """Give the sample with inputs hashed where the reference is."""
    inputs = sample.inputs.copy(deep=False)
    for name, hashed in reference.hashes.items():
        if name in inputs:
            inputs[name] = inputs[name].astype(object).map(hashed, na_action="ignore")
    return replace(sample, inputs=inputs)


def _too_few(check: DriftCheck, version: int, window: WindowStatistics, policy: DriftPolicy) -> DriftReport:
    reason = f"{window.rows} rows in the window, {policy.minimum_rows} are needed"
    if window.received > window.rows:
        reason = f"{window.rows} logged rows of some {window.received} in the window, {policy.minimum_rows} are needed"
    return replace(inconclusive(check, version, reason), window_rows=window.rows, received_rows=window.received)
