"""What the demo prints. What it prints comes from `readback.py`."""

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from demo.client import Tally
from mlflow_ext.domain.drift import DriftCheck, DriftVerdict
from mlflow_ext.domain.promotion import Promotion

COLOURS = {"passed": "green", "failed": "red", "promoted": "green", "rejected": "red", "ok": "green", "drift": "red"}
BAR = 10


def heading(console: Console, number: int, text: str) -> None:
    """Announce a scene."""
    console.print(f"\n[bold cyan]{number}[/]  [bold]{text}[/]")


def done(console: Console, text: str) -> None:
    """Say that something has been seen to happen."""
    console.print(f"   [green]✓[/] {text}")


def coloured(word: str) -> str:
    """Give a word in the colour of what it means."""
    return f"[{COLOURS.get(word, 'yellow')}]{word}[/]"


def gates(promotion: Promotion) -> Table:
    """Draw a promotion's gates with their numbers."""
    table = Table("gate", "verdict", "candidate", "needed", "Production", "rows", box=None, padding=(0, 2, 0, 3))
    for result in (promotion.report or {}).get("results", []):
        numbers = ("" if result[key] is None else f"{result[key]:.4f}" for key in ("measured", "bound", "champion"))
        table.add_row(result["name"], coloured(result["verdict"]), *numbers, str(result["sample_size"] or ""))
    return table


def windows(months: list[str], checks: list[DriftCheck], late: list[float], aucs: list[float | None]) -> Table:
    """Draw one line for each window, with the share of drifted columns as a bar."""
    table = Table(
        *("flights of", "rows", "late", "AUC", "version", "verdict", "drifted columns", ""),
        box=None,
        padding=(0, 1, 0, 3),
    )
    for position, month in enumerate(months):
        check = checks[position] if position < len(checks) else None
        report = None if check is None else check.report
        auc = aucs[position]
        seen = f"{late[position]:.0%}", "" if auc is None else f"{auc:.3f}"
        if check is None or report is None:
            state = "waiting" if check is None else (check.error or check.state.value)
            table.add_row(month, "", *seen, "", f"[yellow]{state}[/]", "", "")
            continue
        share = report.drift_share or 0.0
        drifted = [column.column for column in report.columns if column.drifted]
        bar = f"[red]{'█' * round(share * BAR)}[/][dim]{'░' * (BAR - round(share * BAR))}[/] {share:.0%}"
        shown = ", ".join(drifted[:5]) + (f" +{len(drifted) - 5}" if len(drifted) > 5 else "")
        verdict = coloured(report.verdict.value)
        table.add_row(month, f"{report.window_rows:,}", *seen, str(report.version), verdict, bar, shown)
    return table


def any_drift(checks: list[DriftCheck]) -> bool:
    """Tell whether a check found drift."""
    return any(check.report is not None and check.report.verdict is DriftVerdict.DRIFT for check in checks)


def summary(
    console: Console, tally: Tally, stages: dict[int, str], figures: dict[str, str], links: dict[str, str]
) -> None:
    """Print the last screen."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    versions = ", ".join(f"version {version}: {stage}" for version, stage in sorted(stages.items()))
    table.add_row("registry", versions)
    shares = ", ".join(f"version {version}: {count:,}" for version, count in sorted(tally.by_version.items()))
    table.add_row("answers", f"{tally.answered:,} ({shares})")
    table.add_row("requests lost", f"[{'green' if tally.lost == 0 else 'red'}]{tally.lost}[/]")
    for failure in tally.failures:
        table.add_row("", f"[red]{failure}[/]")
    for name, value in figures.items():
        table.add_row(name, value)
    table.add_row("", "")
    for name, url in links.items():
        table.add_row(name, f"[link={url}]{url}[/link]")
    console.print()
    console.print(Panel(table, title="[bold]A model's life, read back from MLflow and PostgreSQL[/]", expand=False))
