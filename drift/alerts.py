"""How an alert leaves: as a log line and as a POST to the webhook. Raising one is `mlflow_ext/store/checks.py`'s."""

import logging
from typing import Any

import httpx
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from mlflow_ext.domain.alerts import Alert
from mlflow_ext.errors import UnavailableError
from mlflow_ext.store.alerts import Alerts

_log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
AT_ONCE = 3
"""Attempts within one delivery; between deliveries the outbox waits longer each time."""


class AlertSender:
    """Sends alerts to the log and, where one is set, to a webhook."""

    def __init__(self, client: httpx.Client, webhook: str | None) -> None:
        """Take an HTTP client and the webhook's URL."""
        self._client = client
        self._webhook = webhook

    def send(self, alert: Alert) -> None:
        """Deliver one alert.

        Raises:
            UnavailableError: The webhook does not take it.
        """
        if alert.attempts == 0:
            _log.warning(
                "alert id=%d model=%s version=%s check=%s severity=%s message=%s",
                *(alert.id, alert.model, alert.version, alert.check_id, alert.severity, alert.message),
            )
        if self._webhook is None:
            return
        attempts = Retrying(
            stop=stop_after_attempt(AT_ONCE),
            wait=wait_exponential(multiplier=0.2, max=2.0),
            retry=retry_if_exception_type(httpx.HTTPError),
        )
        try:
            attempts(self._post, self._webhook, alert)
        except RetryError as exc:
            reason = exc.last_attempt.exception()
            raise UnavailableError(f"the webhook does not take alert {alert.id}: {reason}") from reason

    def _post(self, webhook: str, alert: Alert) -> None:
        # the same key in every attempt, so that a receiver can tell a repetition
        headers = {"Idempotency-Key": f"mlflow-ext-alert-{alert.id}"}
        self._client.post(webhook, json=payload(alert), headers=headers, timeout=TIMEOUT_S).raise_for_status()


def payload(alert: Alert) -> dict[str, Any]:
    """Give what the webhook gets."""
    return {
        "id": alert.id,
        "kind": "drift",
        "severity": alert.severity,
        "model": alert.model,
        "version": alert.version,
        "check_id": alert.check_id,
        "message": alert.message,
        "created_at": alert.created_at.isoformat(),
        "report": dict(alert.details),
    }


def deliver_all(alerts: Alerts, sender: AlertSender) -> int:
    """Deliver whatever waits, and give the number of attempts."""
    tried = 0
    while alerts.deliver_next(sender.send):
        tried += 1
    return tried
