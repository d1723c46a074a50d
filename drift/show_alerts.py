"""How alerts look on a terminal and as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mlflow_ext.domain.alerts import Alert, AlertState

_COLOURS = {AlertState.FIRING: "red", AlertState.RESOLVED: "green"}


def alert_as_dict(one: Alert) -> dict[str, Any]:
    """Give an alert in JSON-ready form, without its picture and report."""
    times = {name: getattr(one, name) for name in ("created_at", "last_seen_at", "resolved_at", "notified_at")}
    words = ("id", "model", "version", "kind", "severity", "message", "seen", "notices", "check_id", "run_id")
    return {
        **{name: getattr(one, name) for name in words},
        "state": one.state.value,
        **{name: None if moment is None else moment.isoformat() for name, moment in times.items()},
    }


def show_alerts(alerts: Sequence[Alert], console: Console | None = None) -> None:
    """Print one line an alert."""
    console = console or Console()
    if not alerts:
        console.print("no alerts")
        return
    table = Table()
    for name in ("state", "model", "severity", "since", "until", "seen", "told", "what"):
        table.add_column(name)
    for one in alerts:
        table.add_row(
            Text(one.state.value, style=_COLOURS[one.state]),
            one.subject,
            one.severity,
            f"{one.created_at:%Y-%m-%d %H:%M}",
            "" if one.resolved_at is None else f"{one.resolved_at:%Y-%m-%d %H:%M}",
            str(one.seen),
            str(one.notices),
            one.message,
        )
    console.print(table)
