"""Alerts as Alertmanager posts them to webhooks: whatever takes its messages (version 4) takes ours.

https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from typing import Any

from drift.channels.links import Links
from mlflow_ext.domain.alerts import AlertState, Notice, Told

RECEIVER = "mlflow-ext"
_NAMES = {"drift": "ModelDrift", "performance": "ModelPerformance", "retraining_halted": "RetrainingHalted"}
_NEVER = "0001-01-01T00:00:00Z"
"""How Alertmanager writes the end of an alert that goes on."""


def payload(notice: Notice, links: Links) -> dict[str, Any]:
    """Give the message's JSON document."""
    alerts = [_alert(told, links) for told in notice.told]
    name, _, value = notice.group.partition("=")
    return {
        "version": "4",
        "groupKey": f'{{}}:{{{name}="{value}"}}',
        "truncatedAlerts": 0,
        "status": notice.state.value,
        "receiver": RECEIVER,
        "groupLabels": {name: value},
        "commonLabels": _common([one["labels"] for one in alerts]),
        "commonAnnotations": _common([one["annotations"] for one in alerts]),
        "externalURL": links.mlflow_url,
        "alerts": alerts,
    }


def _alert(told: Told, links: Links) -> dict[str, Any]:
    one = told.alert
    over = one.resolved_at if told.state is AlertState.RESOLVED else None
    annotations = {
        "summary": one.message,
        "description": str(one.details.get("reason", one.message)),
        "run_url": links.run(one),
        "image_url": links.picture(one),
        "model_url": links.model(one),
    }
    return {
        "status": told.state.value,
        "labels": {
            "alertname": _NAMES.get(one.kind, one.kind),
            "kind": one.kind,
            "model": one.model,
            "version": "" if one.version is None else str(one.version),
            "severity": one.severity,
        },
        "annotations": {name: text for name, text in annotations.items() if text is not None},
        "startsAt": one.created_at.isoformat(),
        "endsAt": _NEVER if over is None else over.isoformat(),
        "generatorURL": links.run(one) or links.model(one),
        "fingerprint": one.fingerprint,
    }


def _common(documents: list[dict[str, str]]) -> dict[str, str]:
    first = documents[0]
    return {name: text for name, text in first.items() if all(one.get(name) == text for one in documents)}
