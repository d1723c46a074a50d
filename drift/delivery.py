"""From a computed check to MLflow: the run, its report, the version's tags. Computing it is `job.py`'s business.

A result waits in PostgreSQL until MLflow has it. Whoever delivers it may be killed and follow another who was: the run
is found again by its slot's tag.
"""

import logging
from collections.abc import Callable

from mlflow_ext.domain.drift import CheckState, DriftCheck, DriftVerdict
from mlflow_ext.errors import ConflictError, UnavailableError
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.registry.drift_runs import DriftRuns, RunDocuments
from mlflow_ext.store.alerts import Alerts
from mlflow_ext.store.checks import Checks

_log = logging.getLogger(__name__)


def deliver_next(
    checks: Checks, runs: DriftRuns, alerts: Alerts, *, policy_of: Callable[[str], ModelPolicy], segments: str
) -> bool:
    """Deliver the oldest waiting result; False when there is none.

    Args:
        checks: The results.
        runs: MLflow's side.
        alerts: Get the picture of what they are about.
        policy_of: Names the reference, for the run's dataset.
        segments: Where windows come from, for the run's dataset.

    Raises:
        UnavailableError: PostgreSQL does not answer. (When MLflow does not, the result waits: longer each time.)
    """
    claimed = checks.claim_delivery()
    if claimed is None:
        return False
    check, snapshot = claimed
    if check.report is None or check.report.version is None:
        # nothing was served: there is no version to link, and nobody needs an empty run every few minutes
        checks.delivered(check, None)
        return True
    html = json = picture = causes = None
    with checks.lease.held(check.id, check.attempt):
        try:
            if snapshot is not None:
                from drift.evidently_report import render

                html, json = render(snapshot)
            if check.report.verdict is DriftVerdict.DRIFT:
                from drift.picture import picture_of

                picture = picture_of(check.report)
                if check.report.root_cause is not None:
                    from drift.causes.picture import picture_of as picture_of_causes

                    causes = picture_of_causes(check.report, check.report.root_cause)
                if picture is not None:
                    alerts.attach(check.id, picture)
            reference = policy_of(check.model).drift.reference
            documents = RunDocuments(html, json, picture, causes, reference=reference, segments=segments)
            run_id = runs.deliver(check, check.report, documents)
            if checks.is_newest(check):
                runs.mark_version(check.report, run_id)
        except UnavailableError as exc:
            wait_s = check.retry_after_s
            _log.warning("drift.delivery_waits check=%d wait_s=%.0f reason=%s", check.id, wait_s, exc)
            reason = str(exc)
            _kept(lambda: checks.postpone(check, CheckState.COMPUTED, reason, wait_s), check)
            return True
        if not _kept(lambda: checks.delivered(check, run_id), check):
            return True
    _log.info("drift.delivered check=%d model=%s run=%s", check.id, check.model, run_id)
    return True


def _kept(write: Callable[[], None], check: DriftCheck) -> bool:
    """Write what became of it; False when another worker has taken it over, whose word counts."""
    try:
        write()
    except ConflictError as exc:
        _log.warning("drift.delivery_conflict check=%d reason=%s", check.id, exc)
        return False
    return True
