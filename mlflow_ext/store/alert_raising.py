"""What raises and resolves alerts: in the transaction that stores what they are about, so that neither is lost.

How they are told is `alerts.py`'s business.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, and_, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mlflow_ext.domain.alerts import AlertState
from mlflow_ext.domain.drift import CheckKind, DriftReport, DriftVerdict
from mlflow_ext.store.tables import alert, drift_check

DRIFT = "drift"
SKEW = "skew"
"""What a version is asked is not what it was trained on, from its first rows on."""
PERFORMANCE = "performance"
"""A realised metric is beyond its bound."""
HALTED = "retraining_halted"
"""Retraining was halted until somebody looks."""
_SAID = (DriftVerdict.OK.value, DriftVerdict.DRIFT.value)


def note_verdict(connection: Connection, check_id: int, report: DriftReport, message: str | None) -> None:
    """Raise, confirm or resolve the drift alert of a model, as its newest window says, in the check's transaction.

    Args:
        connection: The transaction.
        check_id: The check that has just been computed.
        report: What it says. An inconclusive one changes nothing.
        message: The alert's sentence; `None` when there is nothing to alert about.
    """
    says = drift_check.c.verdict.is_not(None) & (drift_check.c.kind == CheckKind.DATA)
    if _is_past(connection, check_id, report.model, says):
        return
    if message is not None:
        raise_alert(connection, report.model, DRIFT, message, report.version, check_id, report.as_dict())
    elif report.verdict is DriftVerdict.OK:
        resolve_alert(connection, report.model, DRIFT)


def note_skew(connection: Connection, check_id: int, report: DriftReport, message: str | None) -> None:
    """Raise or resolve the alert about a model's skew, as the newest of the versions that answered says.

    Args:
        connection: The transaction.
        check_id: The check that has just been computed.
        report: What it says. One about a version that has not answered yet, or an inconclusive one, changes nothing.
        message: The alert's sentence; `None` when there is nothing to alert about.
    """
    row = drift_check.c
    says = row.verdict.in_(_SAID) & (row.kind == CheckKind.SKEW) & row.rows_version.is_(None)
    if report.rows_version is not None or _is_past(connection, check_id, report.model, says):
        return
    if message is not None:
        raise_alert(connection, report.model, SKEW, message, report.version, check_id, report.as_dict())
    elif report.verdict is DriftVerdict.OK:
        resolve_alert(connection, report.model, SKEW)


def note_performance(connection: Connection, check_id: int, report: DriftReport) -> None:
    """Raise, confirm or resolve the alert about a model's performance, as the newest window with enough labels says.

    Args:
        connection: The transaction.
        check_id: The check that was measured.
        report: What it says. Without enough labels it changes nothing.
    """
    if report.performance_verdict not in _SAID:
        return
    judged = drift_check.c.report["performance_verdict"].astext.in_(_SAID)
    if _is_past(connection, check_id, report.model, judged):
        return
    if report.performance_verdict is DriftVerdict.OK:
        resolve_alert(connection, report.model, PERFORMANCE)
        return
    message = f"{report.model} version {report.version} performs badly: {report.performance_reason}"
    details = {**report.as_dict(), "reason": report.performance_reason, "drift_share": None}
    raise_alert(connection, report.model, PERFORMANCE, message, report.version, check_id, details)


def raise_alert(
    connection: Connection,
    model: str,
    kind: str,
    message: str,
    version: int | None = None,
    check_id: int | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Begin an alert, or see the one that fires once more.

    Args:
        connection: The transaction.
        model: Registered model.
        kind: What it is about.
        message: One sentence for people.
        version: Version concerned.
        check_id: Drift check that saw it.
        details: The report behind it, JSON-ready.
    """
    told = {"version": version, "check_id": check_id, "message": message, "details": dict(details or {})}
    seen = {**told, "picture": None}
    raised = upsert(alert).values(model=model, kind=kind, severity="warning", **seen)
    connection.execute(
        raised.on_conflict_do_update(
            index_elements=[alert.c.workspace, alert.c.model, alert.c.kind],
            index_where=alert.c.state == text("'firing'"),
            set_={**seen, "seen": alert.c.seen + 1, "last_seen_at": func.clock_timestamp()},
        )
    )


def resolve_alert(connection: Connection, model: str, kind: str) -> None:
    """End the alert of a model and kind, if one fires."""
    firing = (alert.c.model == model, alert.c.kind == kind, alert.c.state == AlertState.FIRING)
    over = {"state": AlertState.RESOLVED.value, "resolved_at": func.clock_timestamp()}
    connection.execute(update(alert).where(*firing).values(over))


def _is_past(connection: Connection, check_id: int, model: str, says: Any) -> bool:
    """Tell whether a later window says something: the past is not news."""
    until = select(drift_check.c.until).where(drift_check.c.id == check_id).scalar_subquery()
    later = and_(drift_check.c.model == model, says, drift_check.c.until > until)
    return bool(connection.execute(select(exists().where(later))).scalar())
