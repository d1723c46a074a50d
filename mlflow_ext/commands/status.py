"""`mlflow-ext status`: is every part well, and where does every model stand?

The questions are asked in `health.py` and `overview.py`; this file shows the answers.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mlflow_ext.config import Settings
    from mlflow_ext.health import Health
    from mlflow_ext.overview import ModelState


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Data directory of the `mlflow-ext up` to look at.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(data_dir: Path | None, as_json: bool) -> None:
    """Show every part's health and every model's state; exit 1 when a part is not well."""
    from mlflow_ext.bootstrap import running
    from mlflow_ext.config import load
    from mlflow_ext.errors import UnavailableError
    from mlflow_ext.running import find, is_held

    settings = load()
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    if is_held(settings.data_dir) and find(settings.data_dir) is None:
        raise UnavailableError(f"`mlflow-ext up` on {settings.data_dir} is starting or stopping; try again in a moment")
    settings = running(settings)
    health = _health(settings)
    models: list[ModelState] = []
    trouble = "" if health[0].ok else "the database is not well"
    if not trouble:
        try:
            models = _models(settings)
        except UnavailableError as exc:
            trouble = str(exc)
    if as_json:
        document = {"parts": [asdict(h) for h in health], "models": [asdict(m) for m in models]}
        click.echo(json.dumps(document | ({"error": trouble} if trouble else {}), indent=2))
    else:
        _show(health, models, trouble)
    if trouble or not all(part.ok for part in health):
        sys.exit(1)


def _health(settings: "Settings") -> "list[Health]":
    from mlflow_ext.health import (
        Health,
        check_database,
        check_mlflow,
        check_prediction_log,
        check_role,
        check_serving,
        check_triggers,
    )

    url = settings.require_database_url()
    database = check_database(url)
    by_http = [check_mlflow(settings.mlflow_url), check_serving(settings.serving_url)]
    if not database.ok:
        unknown = "not known without the database"
        return [database, *by_http, *(Health(part, ok=False, detail=unknown) for part in ("promotion", "drift"))]
    by_table = [check_role(url, "promotion"), check_role(url, "drift"), check_triggers(url), check_prediction_log(url)]
    return [database, *by_http, *by_table]


def _models(settings: "Settings") -> "list[ModelState]":
    from mlflow_ext.bootstrap import services
    from mlflow_ext.overview import models

    with services(settings, name="mlflow-ext status") as parts:
        return models(parts.engine)


def _show(health: "list[Health]", models: "list[ModelState]", trouble: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(title="parts", title_justify="left")
    for heading in ("part", "", "detail"):
        table.add_column(heading, overflow="fold")
    for part in health:
        table.add_row(part.part, "[green]ok[/]" if part.ok else "[bold red]not ok[/]", Text(part.detail))
    console.print(table)
    if trouble:
        console.print(Text(f"models cannot be shown: {trouble}"))
        return
    if not models:
        console.print("no models are registered yet")
        return
    table = Table(title="models", title_justify="left")
    for heading in ("model", "Production", "generation", "Staging", "served by", "last promotion", "last drift check"):
        table.add_column(heading, overflow="fold")
    for model in models:
        table.add_row(*(Text(cell) for cell in _cells(model)))
    console.print(table)


def _cells(model: "ModelState") -> tuple[str, ...]:
    production = "-" if model.production is None else str(model.production)
    if model.marked_production != model.production:
        production += f" (MLflow: {'none' if model.marked_production is None else model.marked_production})"
    promotion = model.promotion or "-"
    return (
        model.model,
        production,
        str(model.generation),
        ", ".join(map(str, model.staging)) or "-",
        f"{model.converged} of {model.replicas}",
        f"{promotion} (open)" if model.promotion_open else promotion,
        f"{model.drift} ({model.drift_at})" if model.drift else "-",
    )
