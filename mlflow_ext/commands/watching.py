"""`promotions --watch`: a live tree of models, their promotions, gates with numbers, steps, time left, next action.

What is drawn comes from the store by `told`; the static table of `promotions` is in `drawing.py`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.spinner import Spinner
from rich.tree import Tree

from mlflow_ext.answers import PromotionAnswer, gate_rows
from mlflow_ext.commands.drawing import COLOURS, VERDICTS
from mlflow_ext.domain.explanation import Told, time_left
from mlflow_ext.domain.promotion import Promotion, PromotionState

if TYPE_CHECKING:
    from mlflow_ext.bootstrap import Lifecycle

_STEPS = 4
_ENDED = 2
"""So many ended promotions of a model are shown beside its open ones."""
_WORKING = frozenset({PromotionState.REQUESTED, PromotionState.EVALUATING, PromotionState.ROLLING_OUT})


def told(parts: "Lifecycle", promotion: Promotion) -> Told:
    """Read what there is to be told about a promotion."""
    return Told(
        promotion,
        parts.promotions.story(promotion.id),
        parts.approvals.of(promotion.id),
        parts.policy(promotion.model).evaluation.timeout_s,
    )


def seen(parts: "Lifecycle", models: Sequence[str]) -> dict[str, list[Told]]:
    """Read each model's open promotions, and the newest of those that have ended."""
    found = {}
    for model in models:
        newest = parts.promotions.find(model, limit=20)
        is_open = [one for one in newest if one.state.is_open]
        ended = [one for one in newest if not one.state.is_open]
        found[model] = [told(parts, one) for one in [*is_open, *ended[:_ENDED]]]
    return found


def tree(
    models: Mapping[str, Sequence[Told]],
    production: Mapping[str, int | None],
    *,
    worker_alive: bool,
    now: datetime,
) -> RenderableType:
    """Draw model → promotion → gates and steps.

    Args:
        models: What is told of each model's promotions.
        production: Version in Production by model.
        worker_alive: Whether a promotion worker is there to work on them.
        now: The time, for what is left of it.
    """
    alive = "" if worker_alive else "  [red]no promotion worker is alive[/red]"
    root = Tree(f"[bold]promotions[/bold] [dim]{now:%H:%M:%S} UTC, Ctrl-C ends[/dim]{alive}")
    for model, stories in models.items():
        number = production.get(model)
        served = "nothing in Production" if number is None else f"version {number} in Production"
        branch = root.add(f"[bold]{escape(model)}[/bold]: {served}")
        for story in stories:
            _add(branch, story, now)
        if not stories:
            branch.add("[dim]no promotion yet: mark a version Staging, or `mlflow-ext promote`[/dim]")
    if not models:
        root.add("[dim]no registered model has versions yet[/dim]")
    return root


def _add(branch: Tree, story: Told, now: datetime) -> None:
    one = story.promotion
    colour = COLOURS.get(one.state, "blue")
    left = time_left(story, now)
    dry = " (dry run)" if one.dry_run else ""
    title = f"version {one.version} [{colour}]{one.state}[/{colour}]{dry} [dim]promotion {one.id}[/dim]"
    title += f" [cyan]{escape(left)}[/cyan]" if left else ""
    node = branch.add(Spinner("dots", title) if one.state in _WORKING else title)
    gates = PromotionAnswer(one).gates
    if gates:
        report = node.add("gates")
        for gate, row in zip(gates, gate_rows(gates), strict=True):
            report.add(_gate_line(gate.verdict, row))
    if story.promotion.state is PromotionState.AWAITING_APPROVAL:
        who = ", ".join(word.person for word in story.approvals) or "nobody yet"
        node.add(f"approved by {escape(who)} [dim]({len(story.approvals)} of {story.needs.people})[/dim]")
    if one.state.is_open:
        steps = node.add("steps")
        for step in story.story[-_STEPS:]:
            steps.add(_step_line(step))
    elif one.reason:
        node.add(Group(escape(one.reason)))
    node.add(f"[bold]next:[/bold] {escape(one.next_step)}")


def _gate_line(verdict: Any, row: tuple[str, ...]) -> str:
    name, word, measured, champion, bound = map(escape, row)
    colour = VERDICTS.get(verdict, "red")
    numbers = {"measured": measured, "Production": champion, "must reach": bound}
    shown = ", ".join(f"{label} {value}" for label, value in numbers.items() if value != "-")
    return f"[{colour}]{word}[/{colour}] {name}" + (f" [dim]{shown}[/dim]" if shown else "")


def _step_line(step: Mapping[str, Any]) -> str:
    event = escape(str(step["event"]).replace("_", " "))
    return f"[dim]{step['at']:%H:%M:%S}[/dim] {event} [dim]{escape(step['note'])}[/dim]"
