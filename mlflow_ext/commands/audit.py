"""`mlflow-ext audit`: read the audit trail, and find out whether somebody tampered with it.

What makes a trail whole is said in `domain/audit.py`; what it says about a moment, in `domain/audit_replay.py`.
"""

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from mlflow_ext.domain.audit import AuditEntry, AuditHead


@click.group()
def audit() -> None:
    """Who changed what, on what evidence; and proof that nobody rewrote it."""


@audit.command()
@click.argument("model")
@click.option("--version", type=click.IntRange(min=1), help="Only what concerns this version.")
@click.option("--limit", default=50, show_default=True, help="At most so many of the newest entries.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every field of every entry.")
def show(model: str, version: int | None, limit: int, as_json: bool) -> None:
    """Show the trail of MODEL, oldest entry first."""
    from mlflow_ext.bootstrap import services
    from mlflow_ext.errors import NotFoundError
    from mlflow_ext.store.audit import SqlAudit

    with services(name="mlflow-ext audit") as parts:
        entries = SqlAudit(parts.engine).entries(model)
    if not entries:
        raise NotFoundError(f"the trail has nothing about a model '{model}'")
    entries = [entry for entry in entries if version in {None, entry.version}][-limit:]
    if as_json:
        click.echo(json.dumps([_document(entry) for entry in entries], indent=2))
    else:
        _draw(entries)


@audit.command()
@click.argument("model", required=False)
@click.option(
    "--expect", type=click.File(), help="Heads that `mlflow-ext audit heads` printed earlier; - is standard input."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(model: str | None, expect: TextIO | None, as_json: bool) -> None:
    """Recompute every hash, of MODEL's chain or of all; exit 1 when anything is not as it was written."""
    from dataclasses import asdict

    from mlflow_ext.bootstrap import services
    from mlflow_ext.store.audit import SqlAudit

    expected = _heads(expect) if expect else []
    with services(name="mlflow-ext audit") as parts:
        trail = SqlAudit(parts.engine)
        findings = trail.verify(model, expected)
        heads = [head for head in trail.heads() if model in {None, head.model}]
    if as_json:
        click.echo(json.dumps({"ok": not findings, "findings": [asdict(one) for one in findings]}, indent=2))
    else:
        for finding in findings:
            click.echo(f"{finding.model or '(the trail itself)'}: {finding.problem}")
        entries = sum(head.length for head in heads)
        click.echo(
            f"{len(heads)} chains with {entries} entries: {f'{len(findings)} findings' if findings else 'whole'}"
        )
    if findings:
        sys.exit(1)


@audit.command()
def heads() -> None:
    """Print every chain's length and last hash as JSON: keep it elsewhere, for `verify --expect`."""
    from dataclasses import asdict

    from mlflow_ext.bootstrap import services
    from mlflow_ext.store.audit import SqlAudit

    with services(name="mlflow-ext audit") as parts:
        click.echo(json.dumps([asdict(head) for head in SqlAudit(parts.engine).heads()], indent=2))


@audit.command()
@click.argument("time", metavar="TIME")
@click.option("-m", "--model", required=True, help="Registered model.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def at(time: str, model: str, as_json: bool) -> None:
    """Say what was Production of a model at TIME, who brought it there, and on what evidence.

    TIME is ISO 8601, such as 2026-11-03T12:00; it is UTC unless it names a zone.
    """
    from mlflow_ext.bootstrap import services
    from mlflow_ext.domain.audit_replay import in_production
    from mlflow_ext.errors import NotFoundError
    from mlflow_ext.store.audit import SqlAudit

    moment = _moment(time)
    with services(name="mlflow-ext audit") as parts:
        entries = SqlAudit(parts.engine).entries(model, until=moment)
    if not entries:
        raise NotFoundError(f"the trail has nothing about a model '{model}' up to {_when(moment)}")
    found = in_production(model, entries)
    if as_json:
        document = {
            "model": model,
            "at": moment.isoformat(),
            "version": found.version,
            "brought": _document(found.brought) if found.brought else None,
            "promotion": [_document(step) for step in found.steps],
        }
        click.echo(json.dumps(document, indent=2))
        return
    state = "nothing was in Production" if found.version is None else f"version {found.version} was in Production"
    click.echo(f"{model} at {_when(moment)}: {state}")
    if found.brought:
        did = "withdrawn" if found.version is None else "brought there"
        click.echo(f"{did} by {found.brought.actor} ({found.brought.source}) at {_when(found.brought.at)}")
    if found.version is not None and not found.steps:
        click.echo("no promotion led there: no gates are on record")
    for step in found.steps:
        click.echo(f"  {_when(step.at)}  {step.action} by {step.actor}{_proof(step)}")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise click.BadParameter(f"'{text}' is no time such as 2026-11-03T12:00", param_hint="TIME") from exc
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _heads(file: TextIO) -> "list[AuditHead]":
    from mlflow_ext.domain.audit import AuditHead

    try:
        return [AuditHead(**one) for one in json.load(file)]
    except (ValueError, TypeError) as exc:
        raise click.BadParameter("not what `mlflow-ext audit heads` prints", param_hint="--expect") from exc


def _document(entry: "AuditEntry") -> dict[str, object]:
    from dataclasses import asdict

    return asdict(entry) | {"at": entry.at.isoformat(), "details": json.loads(entry.details)}


def _draw(entries: "list[AuditEntry]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("no.", "at (UTC)", "what", "version", "before", "after", "who", "proof", show_edge=False)
    for entry in entries:
        who = f"{entry.actor} ({entry.source})"
        key = json.loads(entry.details).get("key", "")
        cells = (
            *(str(entry.seq), f"{entry.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}", f"{entry.action} {key}".strip()),
            *(str(entry.version or "-"), entry.before or "-", entry.after or "-", who, _proof(entry).strip()),
        )
        table.add_row(*map(Text, cells))
    Console(highlight=False).print(table)


def _proof(entry: "AuditEntry") -> str:
    details = json.loads(entry.details)
    parts = [
        f"promotion {entry.promotion_id}" if entry.promotion_id else "",
        f"policy {entry.policy_hash[:12]}" if entry.policy_hash else "",
        f"report {entry.evidence[:12]}" if entry.evidence else "",
        str(details.get("note") or ""),
    ]
    said = ", ".join(part for part in parts if part)
    return f"  [{said}]" if said else ""


def _when(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
