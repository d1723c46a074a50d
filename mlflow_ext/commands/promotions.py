"""`mlflow-ext promotions`: how promotions stand, once or live, for people or for programs."""

import json
import time
from contextlib import suppress
from typing import Any

import click

_REFRESH_S = 1.0


@click.command()
@click.argument("model", required=False)
@click.option("--watch", is_flag=True, help="Stay and show changes until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, with each promotion's story.")
def promotions(model: str | None, watch: bool, as_json: bool) -> None:
    """Show the promotions of MODEL, or of all models, with their gates and what happens next."""
    if watch and as_json:
        raise click.UsageError("--watch and --json exclude each other")
    if as_json:
        click.echo(json.dumps(_documents(model), indent=2, default=str))
        return

    from rich.console import Console
    from rich.live import Live

    from mlflow_ext.commands.drawing import models_tree
    from mlflow_ext.notebook import status

    console = Console()
    seen = status(model)
    drawn = models_tree(seen.models, worker_alive=seen.worker_alive)
    if not watch:
        console.print(drawn, highlight=False)
        return
    with suppress(KeyboardInterrupt), Live(drawn, console=console, auto_refresh=False) as live:
        while True:
            time.sleep(_REFRESH_S)
            seen = status(model)
            live.update(models_tree(seen.models, worker_alive=seen.worker_alive), refresh=True)


def _documents(model: str | None) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from mlflow_ext.bootstrap import lifecycle, services

    with services(name="mlflow-ext promotions") as parts:
        store = lifecycle(parts).promotions
        return [
            {**asdict(one), "next_step": one.next_step, "story": [dict(step) for step in store.story(one.id)]}
            for one in store.find(model)
        ]
