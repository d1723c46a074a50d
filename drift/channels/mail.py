"""Alerts as e-mail: text and HTML, pictures inside. The same Message-ID in every attempt."""

import smtplib
import ssl
from email.message import EmailMessage
from html import escape
from urllib.parse import unquote, urlsplit

from drift.channels.links import Links
from mlflow_ext.domain.alerts import AlertState, Notice, Told
from mlflow_ext.errors import UnavailableError

TIMEOUT_S = 10.0
_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


def message(notice: Notice, links: Links, sender: str, receivers: str) -> EmailMessage:
    """Write the message."""
    mail = EmailMessage()
    first = notice.told[0].alert
    what = first.message if len(notice.told) == 1 else f"{len(notice.told)} alerts, {notice.group}"
    mail["Subject"] = " ".join(f"[{notice.state.value}, {notice.severity}] {what}".split())[:180]
    mail["From"] = sender
    mail["To"] = receivers
    mail["Message-ID"] = f"<mlflow-ext-alert-{notice.id}@{sender.rpartition('@')[2].strip('> ') or 'localhost'}>"
    mail.set_content("\n\n".join(_text(told, links) for told in notice.told))
    pictures = {f"picture-{told.alert.id}": told.alert.picture for told in notice.told if told.alert.picture}
    mail.add_alternative("<hr>".join(_html(told, links) for told in notice.told), subtype="html")
    page = mail.get_body(("html",))
    assert page is not None  # noqa: S101  (added two lines above)
    for name, picture in pictures.items():
        page.add_related(picture, "image", "png", cid=f"<{name}>", filename=f"{name}.png")
    return mail


def send(notice: Notice, links: Links, smtp_url: str, sender: str, receivers: str) -> None:
    """Hand the message to the mail server.

    Raises:
        UnavailableError: It does not take it. The reason names no password.
    """
    where = urlsplit(smtp_url)
    host, port = where.hostname or "", where.port or _PORTS[where.scheme]
    mail = message(notice, links, sender, receivers)
    try:
        with _connected(where.scheme, host, port) as server:
            if where.username:
                server.login(unquote(where.username), unquote(where.password or ""))
            server.send_message(mail)
    except (OSError, smtplib.SMTPException) as exc:
        raise UnavailableError(f"the mail server {host}:{port} does not take message {notice.id}: {exc}") from exc


def _connected(scheme: str, host: str, port: int) -> smtplib.SMTP:
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
    server = smtplib.SMTP(host, port, timeout=TIMEOUT_S)
    if scheme == "smtp+starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except (OSError, smtplib.SMTPException):
            server.close()
            raise
    return server


def _text(told: Told, links: Links) -> str:
    one = told.alert
    lines = [f"{one.subject}: {told.state.value}, {one.severity}", one.message]
    lines.append(f"began {one.created_at.isoformat(timespec='seconds')}, seen by {one.seen} checks")
    if told.state is AlertState.RESOLVED and one.resolved_at is not None:
        lines.append(f"over {one.resolved_at.isoformat(timespec='seconds')}")
    lines.append(links.run(one) or links.model(one))
    return "\n".join(lines)


def _html(told: Told, links: Links) -> str:
    one = told.alert
    first, *others, address = _text(told, links).split("\n")
    picture = f'<p><img src="cid:picture-{one.id}" alt="what drifted"></p>' if one.picture else ""
    lines = "<br>".join(escape(line) for line in others)
    return f'<h3>{escape(first)}</h3><p>{lines}</p><p><a href="{escape(address)}">in MLflow</a></p>{picture}'
