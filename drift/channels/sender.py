"""Which channels there are, by the settings; a message goes to the one it names. Each channel is a file beside this."""

from collections.abc import Callable

import httpx

from drift.channels import log, mail, slack, webhook
from drift.channels.http import post
from drift.channels.links import Links
from mlflow_ext.config import Settings
from mlflow_ext.domain.alerts import Notice

Channel = Callable[[Notice], None]


def channels(settings: Settings, client: httpx.Client) -> dict[str, Channel]:
    """Give the channels that are configured, by name; the log always is."""
    links = Links(settings.mlflow_link_url or settings.mlflow_url)
    found: dict[str, Channel] = {"log": log.send}
    if (url := settings.alert_webhook) is not None:
        found["webhook"] = lambda notice: post(client, url, notice, webhook.payload(notice, links))
    if (slack_url := settings.alert_slack_url) is not None:
        secret = slack_url.get_secret_value()
        found["slack"] = lambda notice: post(client, secret, notice, slack.payload(notice, links))
    if (smtp_url := settings.alert_smtp_url) is not None and settings.alert_email_to:
        receivers = settings.alert_email_to
        found["email"] = lambda notice: mail.send(
            notice, links, smtp_url.get_secret_value(), settings.alert_email_from, receivers
        )
    return found
