"""Skew between training and serving: is a version asked what it was trained on? Looked at once, at its beginning.

Twice at most: when it is registered, its training data beside what the version in Production is asked; and when it has
answered its first rows, beside these. When it is due: `skew_due.py`. The watch over time is
`job.py`.
"""

from dataclasses import replace

from drift.comparing import compare_window, for_eyes
from drift.sources import Sources
from drift.window import WindowLog
from mlflow_ext.domain.drift import DriftCheck, DriftReport
from mlflow_ext.errors import NotFoundError


def run_skew(check: DriftCheck, sources: Sources) -> tuple[DriftReport, bytes | None]:
    """Compare what a version, or the one in Production, was asked with what the version was trained on.

    By the same counts, rules and bounds as any window; one window decides, and predictions of another version are left
    out.

    Args:
        check: Which version and window.
        sources: What to read.

    Returns:
        The report, and Evidently's report as a snapshot (`None` when nothing was compared).

    Raises:
        NotFoundError: The version or its reference is gone, or was never logged.
        InvalidInputError: The reference cannot be used.
        UnavailableError: Something does not answer; try again later.
    """
    if check.version is None:
        raise NotFoundError(f"a check of skew names a version of {check.model}")
    policy = sources.policy_of(check.model)
    rows_version = check.rows_version or check.version
    log = WindowLog(sources.index, sources.partials, check.model, rows_version, check.window)
    compared = compare_window(check, check.version, log, sources, policy)
    if isinstance(compared, DriftReport):
        return replace(compared, reason=_said(compared)), None
    own, snapshot = for_eyes(compared, policy)
    return replace(compared.report, reason=_said(compared.report), evidently=own), snapshot


def _said(report: DriftReport) -> str:
    if report.rows_version is not None:
        asked = f"what version {report.rows_version} is asked in Production"
    else:
        asked = f"the first rows that version {report.version} was asked"
    return f"{asked}, beside what version {report.version} was trained on: {report.reason}"
