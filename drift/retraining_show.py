"""How retrainings look on a terminal and as JSON. What they say is decided elsewhere."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from mlflow_ext.domain.retraining import Decision, Hold, Retraining, RetrainingState

_COLOURS = {RetrainingState.DONE: "green", RetrainingState.FAILED: "red"}


def as_dicts(decisions: Sequence[Decision], past: Sequence[Retraining], holds: Sequence[Hold]) -> dict[str, Any]:
    """Give all in JSON-ready form."""
    named: dict[str, Sequence[Any]] = {"decisions": decisions, "retrainings": past, "holds": holds}
    return {name: [_plain(asdict(one)) for one in some] for name, some in named.items()}


def show(
    decisions: Sequence[Decision], past: Sequence[Retraining], holds: Sequence[Hold], console: Console | None = None
) -> None:
    """Print what is held, and one line for each that asked, newest first."""
    console = console or Console()
    for one in holds:
        console.print(
            f"[yellow]held[/]: {one.model}, since {one.at:%Y-%m-%d %H:%M}, by {one.actor}: {one.reason}",
            highlight=False,
        )
    if not decisions:
        console.print("nothing has asked for a retraining yet; see policy retraining.triggers", highlight=False)
        return
    by_id = {one.id: one for one in past}
    table = Table(title="Retraining", title_justify="left")
    for name in ("at", "model", "asked by"):
        table.add_column(name, no_wrap=name != "asked by")
    table.add_column("what came of it")
    for decision in decisions:
        at = f"{decision.at:%Y-%m-%d %H:%M:%S}"
        table.add_row(at, decision.model, f"{decision.trigger}: {decision.cause}", _outcome(decision, by_id))
    console.print(table)


def _outcome(decision: Decision, by_id: dict[int, Retraining]) -> str:
    if decision.retraining_id is None:
        return f"nothing: {decision.refusal}" if decision.refusal else "a retraining that was removed since"
    one = by_id.get(decision.retraining_id)
    if one is None:
        return f"retraining {decision.retraining_id}"
    said = f"[{_COLOURS.get(one.state, 'cyan')}]{one.state}[/]"
    if one.version is not None:
        said += f", version {one.version}"
    if one.error:
        said += f": {one.error.splitlines()[0]}"
    return f"retraining {one.id} {said}"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
