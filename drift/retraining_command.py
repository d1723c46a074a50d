"""`mlflow-ext retraining`: what was retrained and why not, start one by hand, hold and resume. Rules: `triggers.py`."""

import json
from datetime import datetime

import click

from drift.command import TIME
from mlflow_ext.domain.actors import acting


@click.group()
def retraining() -> None:
    """Look at retrainings, start one, hold them, let them go on."""


@retraining.command("list")
@click.argument("model", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=30, show_default=True, help="Newest so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(model: str | None, limit: int, as_json: bool) -> None:
    """Show what asked for retrainings (of MODEL), newest first: what came of it or why nothing did; what is held."""
    from drift.retraining_show import as_dicts, show
    from mlflow_ext.bootstrap import services
    from mlflow_ext.store.retraining_triggers import RetrainingTriggers
    from mlflow_ext.store.retrainings import Retrainings

    with services(name="mlflow-ext retraining list") as parts:
        store = RetrainingTriggers(parts.engine)
        decisions, past = store.decisions(model, limit), Retrainings(parts.engine).find(model, limit)
        holds = [one for one in store.holds().values() if model in (None, one.model)]
    if as_json:
        click.echo(json.dumps(as_dicts(decisions, past, holds), indent=2))
    else:
        show(decisions, past, holds)


@retraining.command()
@click.argument("model")
@click.option("--reason", required=True, help="Why; kept with the retraining.")
@click.option(
    "--since", type=TIME, help="Begin of the window to learn from; the policy's retraining.window_s by default."
)
@click.option("--until", type=TIME, help="End of the window; now by default.")
def run(model: str, reason: str, since: datetime | None, until: datetime | None) -> None:
    """Retrain MODEL now, whatever the cool-down and the budget say. The drift scheduler runs it."""
    from drift.triggers import Triggers
    from mlflow_ext.bootstrap import services
    from mlflow_ext.store.retraining_triggers import RetrainingTriggers

    with services(name="mlflow-ext retraining run") as parts:
        triggers = Triggers(RetrainingTriggers(parts.engine), lambda name: parts.settings.policy(name).retraining)
        decided = triggers.by_hand(model, f"{acting().name}: {reason}", since, until)
    click.echo(f"{decided}; follow it with: mlflow-ext retraining list {model}")


@retraining.command()
@click.argument("model")
@click.option("--reason", required=True, help="Why; shown to whoever asks why nothing happens.")
def pause(model: str, reason: str) -> None:
    """Start no retraining of MODEL until somebody resumes it; one that runs goes on."""
    from mlflow_ext.bootstrap import services
    from mlflow_ext.store.retraining_triggers import RetrainingTriggers

    with services(name="mlflow-ext retraining pause") as parts:
        RetrainingTriggers(parts.engine).pause(model, acting().name, reason)
    click.echo(f"retraining of {model} is held; let it go on with: mlflow-ext retraining resume {model}")


@retraining.command()
@click.argument("model")
def resume(model: str) -> None:
    """Let MODEL be retrained again, after a pause or after it was halted because the world did not settle."""
    from mlflow_ext.bootstrap import services
    from mlflow_ext.store.retraining_triggers import RetrainingTriggers

    with services(name="mlflow-ext retraining resume") as parts:
        ended = RetrainingTriggers(parts.engine).resume(model, acting().name)
    click.echo(f"retraining of {model} goes on; it was held by {ended.actor}: {ended.reason}")
