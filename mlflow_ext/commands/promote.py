"""`mlflow-ext promote`: ask for a promotion, and wait for its end if told to."""

import sys

import click


@click.command()
@click.argument("model")
@click.argument("version", type=click.IntRange(min=1))
@click.option("--dry-run", is_flag=True, help="Compute and record the gates; change nothing in the registry.")
@click.option("--wait", is_flag=True, help="Wait for the end. Exit code 0: promoted (dry run: gates passed), else 1.")
@click.option("--override", is_flag=True, help="Past the gates, in your name; needs --reason. It is recorded.")
@click.option("--reason", help="Why the gates are passed by.")
@click.option("--timeout", default=600.0, show_default=True, help="Wait at most so many seconds.")
def promote(
    model: str, version: int, dry_run: bool, wait: bool, override: bool, reason: str | None, timeout: float
) -> None:
    """Let the gates judge VERSION of MODEL; when they pass, it goes to Production."""
    if override != bool(reason and reason.strip()) or (override and dry_run):
        raise click.UsageError("--override and --reason TEXT go together, and without --dry-run")
    from rich.console import Console

    from mlflow_ext import notebook
    from mlflow_ext.answers import PromotionAnswer
    from mlflow_ext.bootstrap import lifecycle, services
    from mlflow_ext.commands.drawing import promotion_panel

    console = Console()
    with services(name="mlflow-ext promote") as parts:
        promotion = notebook.ask(parts, model, version, source="cli", dry_run=dry_run, override_reason=reason)
        console.print(f"promotion {promotion.id} of {model} version {version}", highlight=False, markup=False)
        if not notebook.worker_alive(parts):
            click.echo(f"mlflow-ext: {notebook.NO_WORKER}", err=True)
        if not wait:
            console.print(f"follow it with `mlflow-ext promotions {model} --watch`", markup=False)
            return
        with console.status("waiting for a worker") as spinner:
            promotion = notebook.follow(lifecycle(parts).promotions, promotion.id, timeout, spinner.update)
            spinner.update("promoted: waiting for the scoring processes to answer with it")
            notebook.wait_answered(parts, promotion)
    answer = PromotionAnswer(promotion)
    console.print(promotion_panel(answer), highlight=False)
    if not promotion.is_settled:
        click.echo(f"mlflow-ext: not ended after {timeout:g} s; it goes on without this command", err=True)
    if not answer.ok:
        sys.exit(1)
