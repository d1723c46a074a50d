"""A promotion's gates for people: the self-contained HTML page `gates.html` and the Markdown block of the description.

Pure: a report goes in, text comes out. Where the text is written is in `results.py`.
"""

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from mlflow_ext.domain.gates import GateReport, GateResult, Importance
from mlflow_ext.domain.promotion import Promotion

_LABEL_WIDTH = 90
_BAR_WIDTH = 290
_ROWS = 50
"""Rows of a gate's own table that the page shows; all of them are among the run's artifacts."""
_IMPORTANCE = {Importance.CRITICAL: "", Importance.ADVISORY: "advisory", Importance.DRY_RUN: "dry run"}
_COLOURS = {"candidate": "#2f6fb7", "Production": "#9aa7b5", "must reach": "#d98e04"}


def gates_page(
    promotion: Promotion, report: GateReport, outcome: str, pictures: Mapping[str, bytes] | None = None
) -> str:
    """Draw the page: each gate with its numbers, details and picture, then every metric of both sides.

    Args:
        promotion: Whose gates.
        report: What they said.
        outcome: What follows, in one sentence.
        pictures: PNG by artifact path; a gate whose picture is not among them gets bars.
    """
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
        gates=_gates(report.results, pictures or {}),
        metrics=[
            {"name": name, "candidate": _show(candidate.get(name)), "champion": _show(champion.get(name))}
            for name in sorted({*candidate, *champion})
        ],
    )


def description_block(promotion: Promotion, report: GateReport, outcome: str) -> str:
    """Write the Markdown block that MLflow's UI shows at the version."""
    lines = [f"**Promotion {promotion.id}: gates {report.verdict.value}.** {_plain(outcome)}"]
    # gates on trial are in the run only
    shown = [one for one in report.results if one.importance is not Importance.DRY_RUN]
    if shown:
        lines += ["", "| gate | verdict | measured | Production | must reach |", "|---|---|---|---|---|"]
        lines += [
            f"| {_cell(one.name)} | {one.standing} | {_show(one.measured)} | {_show(one.champion)} "
            f"| {_show(one.bound)} |"
            for one in shown
        ]
    if report.evidence_run_id:
        lines += ["", f"Evidence: MLflow run `{report.evidence_run_id}` (gates.html, gates.json)."]
    return "\n".join(lines)


@cache
def _template() -> Template:
    loader = PackageLoader("mlflow_ext.registry", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("gates.html")


def _gates(results: tuple[GateResult, ...], pictures: Mapping[str, bytes]) -> list[dict[str, Any]]:
    drawn = [_gate(one, pictures) for one in results]
    shown: dict[str | None, str] = {}
    for gate in drawn:
        # a gate with several bounds draws one picture for all of them
        first = shown.setdefault(gate["picture"], gate["name"])
        if gate["picture"] and first != gate["name"]:
            gate.update(picture=None, see=first)
    return drawn


def _gate(result: GateResult, pictures: Mapping[str, bytes]) -> dict[str, Any]:
    picture = pictures.get(result.picture or "")
    numbers = {"measured": result.measured, "Production": result.champion, "must reach": result.bound}
    facts = [(label, _show(value)) for label, value in numbers.items() if value is not None]
    if result.interval is not None:
        of = result.details.get("interval_of", "measured")
        facts.append((f"interval of {of}", f"{_show(result.interval[0])} to {_show(result.interval[1])}"))
    if result.sample_size is not None:
        facts.append(("rows", str(result.sample_size)))
    plain, tables = _details(result.details)
    return {
        "name": result.name,
        "verdict": result.verdict.value,
        "importance": _IMPORTANCE[result.importance],
        "reason": result.reason,
        "facts": facts + plain,
        "tables": tables,
        "picture": b64encode(picture).decode() if picture else None,
        "bars": [] if picture else _bars(result),
        "evidence": result.evidence,
        "see": None,
    }


def _details(details: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[dict[str, Any]]]:
    """Tell numbers and words from tables: lists of mappings."""
    plain: list[tuple[str, str]] = []
    tables = []
    for name, value in details.items():
        label = name.replace("_", " ")
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            columns = list(value[0])
            rows = [[_text(row.get(column)) for column in columns] for row in value[:_ROWS]]
            tables.append({"name": label, "columns": columns, "rows": rows, "more": len(value) - len(rows)})
        elif isinstance(value, dict):
            inner, others = _details(value)
            plain += [(f"{label}: {word}", text) for word, text in inner]
            tables += others
        elif name != "interval_of" and value not in (None, "", []):
            plain.append((label, _text(value)))
    return plain, tables


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return _show(value)


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
