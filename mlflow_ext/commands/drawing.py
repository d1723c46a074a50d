"""How a terminal draws promotions: a table of gates, and a tree of models. What is drawn comes from the store."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.tree import Tree

from mlflow_ext.answers import ModelStatus, PromotionAnswer, gate_rows
from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.domain.promotion import Promotion, PromotionState

COLOURS = {
    PromotionState.PROMOTED: "green",
    PromotionState.EVALUATED: "cyan",
    PromotionState.REJECTED: "red",
    PromotionState.FAILED: "red",
    PromotionState.AWAITING_APPROVAL: "yellow",
    PromotionState.ROLLED_BACK: "magenta",
}
VERDICTS = {Verdict.PASSED: "green", Verdict.INCONCLUSIVE: "yellow"}


def gates_table(gates: tuple[GateResult, ...]) -> Table:
    """Draw each gate with its numbers."""
    table = Table("gate", "verdict", show_edge=False, pad_edge=False)
    for heading in ("measured", "Production", "must reach"):
        table.add_column(heading, justify="right")
    for gate, row in zip(gates, gate_rows(gates), strict=True):
        name, verdict, *numbers = map(escape, row)
        colour = VERDICTS.get(gate.verdict, "red")
        table.add_row(name, f"[{colour}]{verdict}[/{colour}]", *numbers)
    return table


def promotion_panel(answer: PromotionAnswer) -> RenderableType:
    """Draw one promotion: state, reason, gates, next step."""
    parts: list[RenderableType] = [_title(answer.promotion)]
    if answer.reason:
        parts.append(escape(answer.reason))
    if answer.gates:
        parts.append(gates_table(answer.gates))
    parts.append(f"[dim]next: {escape(answer.promotion.next_step)}[/dim]")
    return Group(*parts)


def report_panel(answer: PromotionAnswer, mlflow_url: str) -> RenderableType:
    """Draw a report with everything that a terminal can show, and say where the rest is."""
    parts: list[RenderableType] = [_title(answer.promotion)]
    if not answer.gates:
        return Group(*parts, escape(answer.reason))
    for gate, row in zip(answer.gates, gate_rows(answer.gates), strict=True):
        name, verdict, measured, champion, bound = map(escape, row)
        colour = VERDICTS.get(gate.verdict, "red")
        facts = {"measured": measured, "Production": champion, "must reach": bound}
        if gate.interval is not None:
            facts["interval"] = f"{gate.interval[0]:.4g} to {gate.interval[1]:.4g}"
        if gate.sample_size is not None:
            facts["rows"] = str(gate.sample_size)
        told = ", ".join(f"{label} {value}" for label, value in facts.items() if value != "-")
        parts.append(f"[{colour}]{verdict}[/{colour}] [bold]{name}[/bold]")
        parts.append(Padding(f"{escape(gate.reason)}\n[dim]{told}[/dim]", (0, 0, 0, 4)))
    if answer.report is not None and answer.report.evidence_run_id:
        parts.append(
            f"[dim]pictures and details: gates.html in run {answer.report.evidence_run_id}, {mlflow_url}[/dim]"
        )
    return Group(*parts)


def models_tree(models: Iterable[ModelStatus], *, worker_alive: bool) -> RenderableType:
    """Draw model → promotion → gates, with the next step of each promotion."""
    root = Tree("[bold]promotions[/bold]" + ("" if worker_alive else "  [red]no promotion worker is alive[/red]"))
    empty = True
    for model in models:
        empty = False
        served = "nothing in Production" if model.production is None else f"version {model.production} in Production"
        branch = root.add(f"[bold]{escape(model.model)}[/bold]: {served}")
        for promotion in model.promotions:
            branch.add(promotion_panel(PromotionAnswer(promotion)))
        if not model.promotions:
            branch.add("[dim]no promotion yet: mark a version Staging, or `mlflow-ext promote`[/dim]")
    if empty:
        root.add("[dim]no registered model has versions yet[/dim]")
    return root


def _title(promotion: Promotion) -> str:
    colour = COLOURS.get(promotion.state, "blue")
    dry = " (dry run)" if promotion.dry_run else ""
    when = f", {promotion.updated_at:%Y-%m-%d %H:%M:%S} UTC" if promotion.updated_at else ""
    return (
        f"version {promotion.version} [{colour}]{promotion.state}[/{colour}]{dry} "
        f"[dim](promotion {promotion.id}, asked for by {escape(promotion.source)}{when})[/dim]"
    )
