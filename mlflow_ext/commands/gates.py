"""`mlflow-ext gates`: which gates there are, and what all gates of a policy say to a version, without consequences."""

import json
import sys

import click


@click.group()
def gates() -> None:
    """Try a policy's gates on a version, or list the gates that are installed."""


@gates.command(name="list")
def list_() -> None:
    """Name every installed gate with its first sentence."""
    from mlflow_ext.gate_kinds import gate_named, known_gates

    words = known_gates()
    width = max(map(len, words), default=0)
    for word in words:
        sentence = (gate_named(word).policy.__doc__ or "").strip().partition("\n")[0]
        click.echo(f"{word:<{width}}  {sentence}")


@gates.command()
@click.argument("model")
@click.argument("version", type=click.IntRange(min=1))
@click.option("--timeout", default=600.0, show_default=True, help="Wait at most so many seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
def run(model: str, version: int, timeout: float, as_json: bool) -> None:
    """Let every gate of MODEL's policy judge VERSION, and show the numbers; nothing is changed.

    Exit code 0 when all critical gates passed, 1 otherwise.
    """
    from rich.console import Console

    from mlflow_ext import notebook
    from mlflow_ext.answers import PromotionAnswer
    from mlflow_ext.bootstrap import lifecycle, services
    from mlflow_ext.commands.drawing import report_panel

    console = Console(stderr=as_json)
    with services(name="mlflow-ext gates") as parts:
        promotion = notebook.ask(parts, model, version, source="cli", dry_run=True)
        if not notebook.worker_alive(parts):
            click.echo(f"mlflow-ext: {notebook.NO_WORKER}", err=True)
        with console.status("waiting for a worker") as spinner:
            promotion = notebook.follow(lifecycle(parts).promotions, promotion.id, timeout, spinner.update)
        mlflow_url = parts.settings.mlflow_url
    answer = PromotionAnswer(promotion)
    if as_json:
        click.echo(json.dumps(promotion.report, indent=2))
    else:
        console.print(report_panel(answer, mlflow_url), highlight=False)
    if not promotion.is_settled:
        click.echo(f"mlflow-ext: not ended after {timeout:g} s; it goes on without this command", err=True)
    if not answer.ok:
        sys.exit(1)
