"""`mlflow-ext drift schedule`: be the scheduler (`schedule.py`), or see and steer when models are checked."""

import json
import sys

import click


@click.group(invoke_without_command=True)
@click.pass_context
def schedule(ctx: click.Context) -> None:
    """Be the drift scheduler, until Ctrl-C or SIGTERM (several may run); or list, pause, resume, run."""
    if ctx.invoked_subcommand is None:
        _be_the_scheduler()


@schedule.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the schedules as JSON.")
def list_schedules(as_json: bool) -> None:
    """Show when each model is checked next, and which are paused by whom."""
    from dataclasses import asdict

    from mlflow_ext.bootstrap import services
    from mlflow_ext.store.schedules import Schedules

    with services(name="mlflow-ext drift schedule list") as parts:
        found = Schedules(parts.engine).find()
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2, default=lambda moment: moment.isoformat()))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in ("model", "cron", "time zone", "window (s)", "catch-up", "next"):
        table.add_column(name)
    for one in found:
        paused = f"paused by {one.paused_by}, {one.paused_at:%Y-%m-%d %H:%M}" if one.paused else ""
        following = paused or one.next_run.isoformat(timespec="seconds")
        table.add_row(one.model, one.cron, one.timezone, f"{one.window_s:g}", one.catch_up, following)
    Console().print(table)


@schedule.command()
@click.argument("model")
def pause(model: str) -> None:
    """Check MODEL no more until somebody resumes it."""
    from mlflow_ext.bootstrap import services
    from mlflow_ext.domain.actors import acting
    from mlflow_ext.store.schedules import Schedules

    with services(name="mlflow-ext drift schedule pause") as parts:
        Schedules(parts.engine).pause(model, acting().name)
    click.echo(f"{model} is paused; `mlflow-ext drift schedule resume {model}` ends that")


@schedule.command()
@click.argument("model")
@click.option("--catch-up", is_flag=True, help="Make up for the slots of the pause, as the policy's `catch_up` says.")
def resume(model: str, catch_up: bool) -> None:
    """Check MODEL again, from the next slot on."""
    from mlflow_ext.bootstrap import services
    from mlflow_ext.store.schedules import Schedules

    with services(name="mlflow-ext drift schedule resume") as parts:
        Schedules(parts.engine).resume(model, catch_up=catch_up)
    click.echo(f"{model} is checked again")


@schedule.command()
@click.argument("model")
@click.pass_context
def run(ctx: click.Context, model: str) -> None:
    """Check MODEL now, beside its schedule, paused or not: as `mlflow-ext drift run`."""
    from drift.show import show_check
    from drift.waiting import run_now
    from mlflow_ext.bootstrap import services
    from mlflow_ext.errors import NotFoundError
    from mlflow_ext.store.schedules import Schedules

    with services(name="mlflow-ext drift schedule run") as parts:
        if model not in {one.model for one in Schedules(parts.engine).find()}:
            raise NotFoundError(f"{model} has no schedule; `mlflow-ext drift run {model}` checks it all the same")
        check = run_now(parts, model, since=None, until=None, version=None)
        show_check(check, parts.settings.mlflow_url)
    if check.report is None:
        ctx.exit(1)


def _be_the_scheduler() -> None:
    import logging
    import signal
    import threading

    from drift.schedule import Scheduler
    from mlflow_ext.bootstrap import services
    from mlflow_ext.domain.actors import DRIFT_SCHEDULER, act_as

    act_as(DRIFT_SCHEDULER)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with services(name="mlflow-ext drift") as parts:
        logging.basicConfig(
            level=parts.settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
        )
        logging.getLogger("httpx").setLevel(logging.WARNING)
        Scheduler(parts).run(stop)
