"""How checks look on a terminal and as JSON. What they say is decided elsewhere."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mlflow_ext.domain.drift import CheckKind, ColumnDrift, DriftCheck, DriftVerdict, SliceReport

_COLOURS = {DriftVerdict.OK: "green", DriftVerdict.DRIFT: "red", DriftVerdict.INCONCLUSIVE: "yellow"}
_BAR_CELLS = 10


def check_as_dict(check: DriftCheck, mlflow_url: str) -> dict[str, Any]:
    """Give a check in JSON-ready form."""
    report = None if check.report is None else {**check.report.as_dict(), "run_id": check.run_id}
    return {
        "id": check.id,
        "model": check.model,
        "kind": check.kind.value,
        "schedule": check.schedule,
        "slot": check.slot.isoformat(),
        "since": check.window.since.isoformat(),
        "until": check.window.until.isoformat(),
        "state": check.state.value,
        "verdict": None if check.report is None else check.report.verdict.value,
        "error": check.error,
        "run_id": check.run_id,
        "run_url": run_url(check, mlflow_url),
        "report": report,
    }


def run_url(check: DriftCheck, mlflow_url: str) -> str | None:
    """Give the address of the check's MLflow run."""
    return None if check.run_id is None else f"{mlflow_url}/#/runs/{check.run_id}"


def show_check(check: DriftCheck, mlflow_url: str, console: Console | None = None) -> None:
    """Print verdict, columns, performance and the link."""
    console = console or Console()
    report = check.report
    if report is None:
        console.print(f"[red]{check.state.value}[/]: {check.error or 'no answer yet'}")
        return
    colour = _COLOURS[report.verdict]
    console.print(f"[bold {colour}]{report.verdict.value}[/]: {escape(report.reason)}", highlight=False)
    kind = "" if report.kind is CheckKind.DATA else f"{report.kind.value} of "
    console.print(f"{kind}{report.model} version {report.version}, {report.window}", highlight=False)
    console.print(f"{report.window_rows} rows, reference {report.reference_rows} rows", highlight=False)
    if report.received_rows is not None and report.received_rows > report.window_rows:
        console.print(f"the log is sampled: some {report.received_rows} rows were received", highlight=False)
    if report.columns:
        console.print(_columns(report.columns))
    if report.slices:
        console.print(_slices(report.slices))
    if report.weights_note:
        console.print(f"weights: {escape(report.weights_note)}", highlight=False)
    if report.root_cause is not None:
        console.print("[bold]root cause[/]")
        for sentence in report.root_cause.sentences:
            console.print(f"  {escape(sentence)}", highlight=False)
    if report.evidently:
        drift = "drift" if report.evidently["drift"] else "no drift"
        share = report.evidently["share"]
        console.print(f"Evidently's own verdict, on a sample: {drift} ({share:.0%} of the columns)", highlight=False)
    if report.estimate_note:
        console.print(f"estimated without labels: not possible, {report.estimate_note}", highlight=False)
    if report.estimated:
        told = report.estimated
        names = [name for name in told if not name.endswith(("_low", "_high"))]
        said = ", ".join(
            f"{name} {told[name]:.3f} ({told[name + '_low']:.3f} to {told[name + '_high']:.3f})" for name in names
        )
        console.print(f"estimated without labels: {said}", highlight=False)
    if report.performance:
        said = ", ".join(f"{name} {value:.4g}" for name, value in report.performance.items())
        again = f" (measured anew {report.evaluation} times as labels came)" if report.evaluation else ""
        console.print(f"feedback: {said}{again}", highlight=False)
    if report.performance_verdict is not None:
        colour = _COLOURS[report.performance_verdict]
        console.print(
            f"performance: [{colour}]{report.performance_verdict.value}[/]: {report.performance_reason}",
            highlight=False,
        )
    if check.error and check.run_id is None:
        console.print(f"[yellow]not in MLflow yet[/]: {check.error}")
    url = run_url(check, mlflow_url)
    if url is not None:
        console.print(url, soft_wrap=True)


def show_history(model: str, checks: Sequence[DriftCheck], console: Console | None = None) -> None:
    """Print one line a check, newest first."""
    console = console or Console()
    if not checks:
        console.print(f"no checks of {model} yet; see policy drift.schedule, or: mlflow-ext drift run {model}")
        return
    table = Table(title=f"Drift checks of {model}", title_justify="left")
    for name in ("window", "kind", "version", "verdict", "rows"):
        table.add_column(name, justify="right" if name in ("version", "rows") else "left", no_wrap=True)
    table.add_column("drift share", no_wrap=True)
    table.add_column("what")
    for check in checks:
        report = check.report
        window = f"{check.window.since:%Y-%m-%d %H:%M:%S} .. {check.window.until:%m-%d %H:%M:%S}"
        if report is None:
            table.add_row(window, check.kind.value, "", check.state.value, "", "", check.error or "")
            continue
        table.add_row(
            window,
            check.kind.value,
            str(report.version or ""),
            Text(report.verdict.value, style=_COLOURS[report.verdict]),
            str(report.window_rows),
            _bar(report.drift_share),
            escape(report.reason),
        )
    console.print(table)


def _columns(columns: Sequence[ColumnDrift]) -> Table:
    table = Table()
    for name in ("column", "kind", "method"):
        table.add_column(name)
    for name in ("effect", "least", "p", "weight"):
        table.add_column(name, justify="right")
    table.add_column("drifted")
    table.add_column("note")
    for one in columns:
        table.add_row(
            *(one.column, one.kind, one.method),
            *(_number(value) for value in (one.score, one.threshold, one.p_value, one.weight)),
            Text("drifted", style="red") if one.drifted else ("no" if one.compared else ""),
            one.note,
        )
    return table


def _slices(slices: Sequence[SliceReport]) -> Table:
    table = Table(title="slices, on the samples of both sides", title_justify="left")
    for name in ("slice", "rows", "reference", "verdict", "why", "feedback"):
        table.add_column(name, justify="right" if name in ("rows", "reference") else "left")
    for one in slices:
        feedback = ", ".join(f"{name} {value:.4g}" for name, value in one.performance.items())
        table.add_row(
            *(escape(one.name), str(one.window_rows), str(one.reference_rows)),
            Text(one.verdict.value, style=_COLOURS[one.verdict]),
            *(escape(one.reason), feedback if one.performance.get("labelled_rows") else ""),
        )
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _bar(share: float | None) -> Text:
    if share is None:
        return Text("")
    full = round(share * _BAR_CELLS)
    return Text("█" * full + "░" * (_BAR_CELLS - full) + f" {share:.0%}")
