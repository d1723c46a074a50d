"""Alerts as messages of Slack's incoming webhooks, which Mattermost, Rocket.Chat and others take as well.

Pictures are linked, not embedded: Slack fetches embedded ones itself, and refuses a message with one out of its reach.
"""

from typing import Any

from drift.channels.links import Links
from mlflow_ext.domain.alerts import AlertState, Notice, Told

MOST_ALERTS = 20
"""In one message: Slack takes 50 blocks at most."""
_MOST_CHARACTERS = 2_900
_HEADLINE = {AlertState.FIRING: ":rotating_light: Firing", AlertState.RESOLVED: ":white_check_mark: Resolved"}


def payload(notice: Notice, links: Links) -> dict[str, Any]:
    """Give the message's JSON document."""
    count = len(notice.told)
    headline = f"{_HEADLINE[notice.state]}: {count} alert{'s' if count > 1 else ''} ({notice.severity})"
    blocks = [_section(f"*{headline}*"), *(_section(_text(told, links)) for told in notice.told[:MOST_ALERTS])]
    if count > MOST_ALERTS:
        blocks.append(_section(f"and {count - MOST_ALERTS} more; `mlflow-ext drift alerts` shows all"))
    # what notifications show
    first = _escaped(notice.told[0].alert.message)
    return {"text": headline + (f": {first}" if count == 1 else ""), "blocks": blocks}


def _text(told: Told, links: Links) -> str:
    one = told.alert
    lines = [f"*<{links.model(one)}|{_escaped(one.subject)}>*: {told.state.value}, {one.severity}"]
    lines.append(_escaped(one.message)[:_MOST_CHARACTERS])
    found = {"run in MLflow": links.run(one), "picture": links.picture(one)}
    said = [f"<{url}|{name}>" for name, url in found.items() if url is not None]
    if said:
        lines.append(" · ".join(said))
    return "\n".join(lines)


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
