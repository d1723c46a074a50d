"""A checked window measured anew when its labels come: realised performance and its verdict, nothing else.

Inputs and outputs do not change after a window's end, so their verdict stands. Which checks labels came for is
`mlflow_ext/store/relabelling.py`'s business, what is measured `performance.py`'s.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from drift.job import measured
from drift.sources import Sources
from drift.window import NOTHING, WindowLog
from mlflow_ext.domain.drift import CheckState, DriftCheck, DriftReport
from mlflow_ext.errors import ConflictError, MlflowExtError, UnavailableError
from mlflow_ext.policy import DriftPolicy
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.relabelling import Relabelling

_log = logging.getLogger(__name__)


def measure_next(relabelling: Relabelling, checks: Checks, sources: Sources) -> bool:
    """Claim one check that labels came for, measure it and store what is new; False when there is none.

    Args:
        relabelling: The checks that labels came for.
        checks: The checks.
        sources: What a check reads.

    Raises:
        UnavailableError: PostgreSQL does not answer.
    """
    check = relabelling.claim()
    if check is None:
        return False
    with relabelling.lease.held(check.id, check.attempt):
        try:
            report = remeasured(check, sources)
            if report is None:
                relabelling.unchanged(check)
                return True
            relabelling.measured(check, report)
        except ConflictError as exc:
            _log.warning("drift.lost check=%d reason=%s", check.id, exc)
            return True
        except UnavailableError as exc:
            wait_s = check.retry_after_s
            _log.warning("drift.labels_wait check=%d wait_s=%.0f reason=%s", check.id, wait_s, exc)
            reason = str(exc)
            _patiently(lambda: checks.postpone(check, CheckState.LABELLED, reason, wait_s), check)
            return True
        except Exception as exc:  # what one model's labels meet must not stop the checks of the others
            expected = isinstance(exc, MlflowExtError)
            _log.warning("drift.labels_failed check=%d reason=%s", check.id, exc, exc_info=not expected)
            _patiently(lambda: relabelling.unchanged(check), check)
            return True
    _log.info("drift.measured check=%d model=%s evaluation=%d", check.id, check.model, report.evaluation)
    return True


def remeasured(check: DriftCheck, sources: Sources) -> DriftReport | None:
    """Measure a window's performance with the labels there are now.

    Args:
        check: With its report.
        sources: What to read.

    Returns:
        The report with the new numbers; `None` when labels are not enough more than before, or rows of the window are
        no longer kept.

    Raises:
        UnavailableError: A segment, or PostgreSQL, cannot be read.
    """
    former = check.report
    if former is None or former.version is None:
        return None
    policy = sources.policy_of(check.model)
    log = WindowLog(sources.index, sources.partials, check.model, former.version, check.window)
    logged = log.statistics(NOTHING, {})
    if logged.rows < former.window_rows:
        _log.info("drift.rows_gone check=%d rows=%d before=%d", check.id, logged.rows, former.window_rows)
        return None
    share = min(logged.shares) if len(logged.shares) > 1 else None
    new = measured(replace(former, evaluation=check.evaluation + 1), log, sources, policy, share)
    return new if grown(former, new, policy.drift) else None


def grown(former: DriftReport, new: DriftReport, policy: DriftPolicy) -> bool:
    """Tell whether so many more labels came that a window is worth telling anew.

    The first labels and the last ones are; between them, each further `label_growth` of the rows.
    """
    before, now = (one.performance.get("labelled_share", 0.0) for one in (former, new))
    if now <= before:
        # a correction changes a label without adding one
        return former.performance.get("labelled_rows") == new.performance.get("labelled_rows") and _other(former, new)
    return not before or now >= 1 or now - before >= policy.label_growth


def _other(former: DriftReport, new: DriftReport) -> bool:
    names = {*former.performance, *new.performance} - {"label_lag_s"}
    return any(former.performance.get(name) != new.performance.get(name) for name in names)


def _patiently(step: Callable[[], None], check: DriftCheck) -> None:
    try:
        step()
    except ConflictError as exc:
        _log.warning("drift.lost check=%d reason=%s", check.id, exc)
