"""How alerts leave: those that people are to be told of become messages, and each message goes to its channel.

Raising them is `mlflow_ext/store/alerts.py`'s business, the channels are `channels/`.
"""

import logging
from collections.abc import Callable, Mapping

from drift.channels.sender import Channel
from mlflow_ext.config import Settings
from mlflow_ext.domain.alerts import Notice
from mlflow_ext.policy import AlertPolicy
from mlflow_ext.store.alerts import Alerts

_log = logging.getLogger(__name__)

RUN_WAIT_S = 60.0
"""So long a new alert waits for the MLflow run that it links to; it leaves without when MLflow is down."""


def tell_all(
    alerts: Alerts, channels: Mapping[str, Channel], settings: Settings, policy_of: Callable[[str], AlertPolicy]
) -> int:
    """Enter the messages that are due and deliver whatever waits; gives the number of attempts."""
    entered = alerts.route(
        policy_of,
        channels,
        group_by=settings.alert_group_by,
        group_wait_s=settings.alert_group_wait_s,
        run_wait_s=RUN_WAIT_S,
    )
    if entered:
        _log.info("alerts.routed messages=%d", entered)

    def send(notice: Notice) -> None:
        channel = channels.get(notice.channel)
        if channel is None:
            # its setting was taken away since: nobody would ever take it
            _log.warning("alerts.channel_gone channel=%s message=%d", notice.channel, notice.id)
            return
        channel(notice)

    tried = 0
    while alerts.deliver_next(send):
        tried += 1
    return tried
