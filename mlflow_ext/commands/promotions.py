"""`mlflow-ext promotions`: how promotions stand, once or live, for people or for programs."""

import json
import time
from contextlib import suppress
from typing import Any

import click

_REFRESH_S = 1.0
_FRAMES_PER_SECOND = 8


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

    if watch:
        _watch(model)
        return
    from rich.console import Console

    from mlflow_ext.commands.drawing import models_tree
    from mlflow_ext.notebook import status

    seen = status(model)
    Console().print(models_tree(seen.models, worker_alive=seen.worker_alive), highlight=False)


def _watch(model: str | None) -> None:
    from datetime import UTC, datetime

    from rich.live import Live

    from mlflow_ext.bootstrap import lifecycle, services
    from mlflow_ext.commands.watching import seen, tree
    from mlflow_ext.errors import NotFoundError, UnavailableError
    from mlflow_ext.lifecycle.request_promotion import production_version
    from mlflow_ext.notebook import worker_alive

    with services(name="mlflow-ext promotions") as parts, suppress(KeyboardInterrupt):
        found = lifecycle(parts)

        def drawn() -> Any:
            names = found.view.models()
            if model is not None and model not in names:
                raise NotFoundError(f"there is no model '{model}' with versions")
            shown = [model] if model is not None else names
            production = {name: production_version(name, found.view) for name in shown}
            now = datetime.now(UTC)
            return tree(seen(found, shown), production, worker_alive=worker_alive(parts), now=now)

        with Live(drawn(), refresh_per_second=_FRAMES_PER_SECOND) as live:
            while True:
                time.sleep(_REFRESH_S)
                # the last picture stays until PostgreSQL answers again
                with suppress(UnavailableError):
                    live.update(drawn())


def _documents(model: str | None) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from mlflow_ext.bootstrap import lifecycle, services

    with services(name="mlflow-ext promotions") as parts:
        store = lifecycle(parts).promotions
        return [
            {**asdict(one), "next_step": one.next_step, "story": [dict(step) for step in store.story(one.id)]}
            for one in store.find(model)
        ]
