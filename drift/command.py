"""`mlflow-ext drift`: check a window now, look at the checks so far, be the scheduler. One check: `job.py`."""

import json
import sys
from datetime import UTC, datetime

import click

from drift.schedule_command import schedule
from mlflow_ext.domain.drift import CheckKind, DriftCheck


class IsoTime(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2 only
    """A time in ISO 8601; UTC where it names no zone."""

    name = "time"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-11-21T08:00 or 2026-11-21T08:00:00+01:00", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


TIME = IsoTime()


@click.group()
def drift() -> None:
    """Compare what a model receives with what it was trained on."""


@drift.command()
@click.argument("model")
@click.option("--since", type=TIME, help="Begin of the window, ISO 8601 (UTC unless it says else).")
@click.option("--until", type=TIME, help="End of the window; now by default.")
@click.option("--version", type=int, help="Version to check; the one in Production by default.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def run(model: str, since: datetime | None, until: datetime | None, version: int | None, as_json: bool) -> None:
    """Check MODEL now; by default the policy's window, ending now. Exit code 1 when the check fails."""
    from drift.waiting import run_now
    from mlflow_ext.bootstrap import services

    with services(name="mlflow-ext drift run") as parts:
        check = run_now(parts, model, since=since, until=until, version=version, quiet=as_json)
        _tell(check, parts.settings.mlflow_url, as_json=as_json)
    if check.report is None:
        sys.exit(1)


@drift.command()
@click.argument("model")
@click.option("--version", type=int, help="Version to look at; the one in Production by default.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def skew(model: str, version: int | None, as_json: bool) -> None:
    """Compare what a version of MODEL was asked first with what it was trained on.

    A version that nobody has asked yet is compared with what the one in Production was asked lately. Exit code 1 when
    the check fails.
    """
    from drift.waiting import skew_now
    from mlflow_ext.bootstrap import services

    with services(name="mlflow-ext drift skew") as parts:
        check = skew_now(parts, model, version=version, quiet=as_json)
        _tell(check, parts.settings.mlflow_url, as_json=as_json)
    if check.report is None:
        sys.exit(1)


@drift.command()
@click.argument("model")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Newest so many.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def history(model: str, limit: int, as_json: bool) -> None:
    """Show the checks of MODEL, newest window first."""
    from drift.show import check_as_dict, show_history
    from mlflow_ext.bootstrap import services
    from mlflow_ext.store.checks import Checks

    with services(name="mlflow-ext drift history") as parts:
        checks = Checks(parts.engine).history(model, limit)
        if as_json:
            url = parts.settings.mlflow_url
            click.echo(json.dumps([check_as_dict(check, url) for check in checks], indent=2))
        else:
            show_history(model, checks)


@drift.command()
@click.argument("model")
@click.option("--check", "check_id", type=int, help="Number of the check; the newest window with an answer by default.")
@click.option(
    "--kind",
    type=click.Choice([one.value for one in CheckKind]),
    default="data",
    show_default=True,
    help="Newest of these.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def show(model: str, check_id: int | None, kind: str, as_json: bool) -> None:
    """Show one check of MODEL in full: columns, root cause, performance. Exit code 1 when there is none."""
    from mlflow_ext.bootstrap import services
    from mlflow_ext.store.checks import Checks

    with services(name="mlflow-ext drift show") as parts:
        checks = Checks(parts.engine)
        found = checks.newest(model, CheckKind(kind)) if check_id is None else [checks.get(check_id)]
        found = [one for one in found if one.model == model]
        url = parts.settings.mlflow_url
    if not found:
        raise click.ClickException(f"there is no such check of {model}; mlflow-ext drift history {model} shows all")
    _tell(found[0], url, as_json=as_json)


@drift.command()
@click.option("--model", help="Of this model only.")
@click.option("--firing", is_flag=True, help="Only those that go on.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Newest so many.")
@click.option("--json", "as_json", is_flag=True, help="Print the alerts as JSON.")
def alerts(model: str | None, firing: bool, limit: int, as_json: bool) -> None:
    """Show alerts, newest first: what goes on, what is over, who was told."""
    from drift.show_alerts import alert_as_dict, show_alerts
    from mlflow_ext.bootstrap import services
    from mlflow_ext.store.alerts import Alerts

    with services(name="mlflow-ext drift alerts") as parts:
        found = Alerts(parts.engine).find(model, limit, firing=firing)
    if as_json:
        click.echo(json.dumps([alert_as_dict(one) for one in found], indent=2))
    else:
        show_alerts(found)


def _tell(check: DriftCheck, mlflow_url: str, *, as_json: bool) -> None:
    from drift.show import check_as_dict, show_check

    if as_json:
        click.echo(json.dumps(check_as_dict(check, mlflow_url), indent=2))
    else:
        show_check(check, mlflow_url)


drift.add_command(schedule)
