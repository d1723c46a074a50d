"""A POST that a channel makes: tried some times at once, the same key in every attempt."""

from typing import Any

import httpx
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from mlflow_ext.domain.alerts import Notice
from mlflow_ext.errors import UnavailableError

TIMEOUT_S = 5.0
AT_ONCE = 3
"""Attempts within one delivery; between deliveries the outbox waits longer each time."""


def post(client: httpx.Client, url: str, notice: Notice, payload: dict[str, Any]) -> None:
    """Post a message.

    Raises:
        UnavailableError: The receiver does not take it. The reason names no address: it may hold a secret.
    """
    attempts = Retrying(
        stop=stop_after_attempt(AT_ONCE),
        wait=wait_exponential(multiplier=0.2, max=2.0),
        retry=retry_if_exception_type(httpx.HTTPError),
    )
    try:
        attempts(_once, client, url, notice, payload)
    except RetryError as exc:
        reason = exc.last_attempt.exception()
        said = f"answers {reason.response.status_code}" if isinstance(reason, httpx.HTTPStatusError) else f"{reason}"
        raise UnavailableError(f"the {notice.channel} receiver does not take message {notice.id}: {said}") from reason


def _once(client: httpx.Client, url: str, notice: Notice, payload: dict[str, Any]) -> None:
    # the same key in every attempt, so that a receiver can tell a repetition
    headers = {"Idempotency-Key": f"mlflow-ext-alert-{notice.id}"}
    client.post(url, json=payload, headers=headers, timeout=TIMEOUT_S).raise_for_status()
