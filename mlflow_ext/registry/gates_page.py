"""A promotion's gates for people: the self-contained HTML page `gates.html` and the Markdown block of the description.

Pure: a report goes in, text comes out. Where the text is written is in `results.py`.
"""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from mlflow_ext.domain.gates import GateReport, GateResult
from mlflow_ext.domain.promotion import Promotion

_LABEL_WIDTH = 90
_BAR_WIDTH = 290
_COLOURS = {"candidate": "#2f6fb7", "Production": "#9aa7b5", "must reach": "#d98e04"}


def gates_page(promotion: Promotion, report: GateReport, outcome: str) -> str:
    """Draw the page: each gate with its numbers and bars, then every metric of both sides."""
    details = report.details
    candidate = details.get("candidate") or {}
    champion = details.get("champion") or {}
    dataset = details.get("dataset") or {}
    return _template().render(
        model=promotion.model,
        version=promotion.version,
        promotion=promotion.id,
        dry_run=promotion.dry_run,
        verdict=report.verdict.value,
        outcome=outcome,
        champion=report.champion_version,
        rows=details.get("rows", 0),
        source=dataset.get("source", "unknown"),
        digest=dataset.get("digest", ""),
        gates=[
            {"name": one.name, "verdict": one.verdict.value, "reason": one.reason, "bars": _bars(one)}
            for one in report.results
        ],
        metrics=[
            {"name": name, "candidate": _show(candidate.get(name)), "champion": _show(champion.get(name))}
            for name in sorted({*candidate, *champion})
        ],
    )


def description_block(promotion: Promotion, report: GateReport, outcome: str) -> str:
    """Write the Markdown block that MLflow's UI shows at the version."""
    lines = [f"**Promotion {promotion.id}: gates {report.verdict.value}.** {_plain(outcome)}"]
    if report.results:
        lines += ["", "| gate | verdict | measured | Production | must reach |", "|---|---|---|---|---|"]
        lines += [
            f"| {_cell(one.name)} | {one.verdict.value} | {_show(one.measured)} | {_show(one.champion)} "
            f"| {_show(one.bound)} |"
            for one in report.results
        ]
    if report.evidence_run_id:
        lines += ["", f"Evidence: MLflow run `{report.evidence_run_id}` (gates.html, gates.json)."]
    return "\n".join(lines)


@cache
def _template() -> Template:
    loader = PackageLoader("mlflow_ext.registry", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("gates.html")


def _bars(result: GateResult) -> list[dict[str, Any]]:
    values = {"candidate": result.measured, "Production": result.champion, "must reach": result.bound}
    shown = {label: value for label, value in values.items() if value is not None}
    if not shown:
        return []
    low, high = min(0.0, *shown.values()), max(0.0, *shown.values())
    scale = _BAR_WIDTH / ((high - low) or 1.0)
    bars = []
    for label, value in shown.items():
        left = _LABEL_WIDTH + (min(value, 0.0) - low) * scale
        width = max(abs(value) * scale, 1.0)
        bars.append(
            {
                "label": label,
                "x": round(left, 1),
                "width": round(width, 1),
                "end": round(left + width + 6, 1),
                "value": _show(value),
                "colour": _COLOURS[label],
            }
        )
    return bars


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _plain(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")
