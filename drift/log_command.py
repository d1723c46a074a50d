"""`mlflow-ext log`: what was asked and answered, from segments. What a query sees: `log_view.py`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from drift.command import IsoTime

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAY = timedelta(days=1)


class Moment(IsoTime):
    """A time in ISO 8601, or how long ago: `90m`, `12h`, `7d`."""

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it."""
        span = re.fullmatch(r"(\d{1,6})([smhdw])", value) if isinstance(value, str) else None
        if span is None:
            return super().convert(value, param, ctx)
        return datetime.now(UTC) - timedelta(**{_UNITS[span[2]]: int(span[1])})


_SINCE = click.option(
    "--since", type=Moment(), help="Begin: ISO 8601 (UTC unless it says else), or how long ago (12h, 7d). A day ago."
)
_UNTIL = click.option("--until", type=Moment(), help="End, in the same form; now by default.")
_VERSION = click.option("--version", type=int, help="One version; all by default.")
_SQL = "A query over the view `predictions`."


@click.group()
def log() -> None:
    """Look into the prediction log: query it, export it, find one request."""


@log.command()
@click.argument("model")
@_SINCE
@_UNTIL
@_VERSION
@click.option("--sql", help=f"{_SQL} By default the newest rows.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Print so many rows.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def query(
    model: str,
    since: datetime | None,
    until: datetime | None,
    version: int | None,
    sql: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Answer a query over the logged predictions of MODEL."""
    from drift.log_export import as_json as json_of
    from drift.log_view import VIEW

    asked = sql or f"SELECT * FROM {VIEW} ORDER BY received_at DESC, request_id, row LIMIT {limit}"
    with _reading(model, since, until, version, asked) as batches:
        names: list[str] = []
        rows: list[dict[str, Any]] = []
        more = False
        for batch in batches:
            names = batch.schema.names
            rows += batch.slice(0, limit - len(rows)).to_pylist()
            more = batch.num_rows > 0 and len(rows) == limit
            if more:
                break
    if as_json:
        for row in rows:
            click.echo(json_of(row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)
    if more and sql is not None:
        click.echo(f"at most {limit} rows are shown; --limit shows more, `mlflow-ext log export` writes all", err=True)


@log.command()
@click.argument("model")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_SINCE
@_UNTIL
@_VERSION
@click.option("--sql", help=f"{_SQL} By default all rows.")
@click.option("--format", "kind", type=click.Choice(["parquet", "csv", "jsonl"]), help="By default as FILE ends.")
def export(
    model: str,
    file: Path,
    since: datetime | None,
    until: datetime | None,
    version: int | None,
    sql: str | None,
    kind: str | None,
) -> None:
    """Write logged predictions of MODEL to FILE: Parquet, CSV or JSON lines."""
    from drift.log_export import export as write
    from drift.log_export import format_of
    from drift.log_view import VIEW

    chosen = format_of(file, kind)
    with _reading(model, since, until, version, sql or f"SELECT * FROM {VIEW}") as batches:
        rows = write(batches, file, chosen)
    click.echo(f"{rows} rows in {file}")


@log.command()
@click.argument("request_id")
@click.option("--model", help="Look at this model only.")
def show(request_id: str, model: str | None) -> None:
    """Show one logged request as JSON: what was asked, what was answered, when and by which version."""
    from drift.log_export import as_json
    from drift.log_lookup import look_up
    from mlflow_ext.bootstrap import services
    from mlflow_ext.store.segments import Segments

    with services(name="mlflow-ext log") as parts:
        rows = look_up(Segments(parts.engine), request_id, lambda name: parts.settings.policy(name).privacy, model)
    for row in rows:
        click.echo(as_json(row, indent=2))


@contextmanager
def _reading(
    model: str, since: datetime | None, until: datetime | None, version: int | None, sql: str
) -> Iterator[Iterator[Any]]:
    from drift.log_view import read
    from mlflow_ext.bootstrap import services
    from mlflow_ext.domain.drift import Window
    from mlflow_ext.errors import InvalidInputError
    from mlflow_ext.store.segments import Segments

    end = until or datetime.now(UTC)
    begin = since or end - _DAY
    if begin >= end:
        raise InvalidInputError("the window ends before it begins: --until must be later than --since")
    with services(name="mlflow-ext log") as parts:
        privacy = parts.settings.policy(model).privacy
        yield read(Segments(parts.engine), model, version, Window(begin, end), privacy, sql)
