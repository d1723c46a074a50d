"""`mlflow-ext token`: make, list and revoke the tokens of those who may ask the promotion service."""

import json
import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from mlflow_ext.domain.tokens import Right, Token, TokenState, token_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow_ext.store.tokens import Tokens

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_COLOURS = {TokenState.ACTIVE: "green", TokenState.EXPIRED: "yellow", TokenState.REVOKED: "red"}


def _expiry(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        if span := re.fullmatch(r"(\d+)([mhdw])", value):
            return datetime.now(UTC) + timedelta(**{_UNITS[span[2]]: int(span[1])})
        at = datetime.fromisoformat(value)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as exc:
        raise click.BadParameter(
            "must be a span (30m, 12h, 90d, 4w) or a date and time (2027-01-31, 2027-01-31T18:00+01:00)",
            context,
            parameter,
        ) from exc


@click.group()
def token() -> None:
    """Say who may ask the promotion service."""


@token.command()
@click.option(
    "--right",
    "rights",
    type=click.Choice([right.value for right in Right]),
    multiple=True,
    required=True,
    help="What it allows; repeatable.",
)
@click.option("--model", "models", multiple=True, help="Limit it to this registered model; repeatable.")
@click.option("--expires", callback=_expiry, help="A span (90d, 12h) or a date (2027-01-31); default: never.")
@click.option("--owner", default="", help="Person who uses it; what it does is recorded in their name.")
@click.option("--note", default="", help="What it is for.")
@click.option("--quiet", is_flag=True, help="Print the token alone.")
def create(
    rights: tuple[str, ...],
    models: tuple[str, ...],
    expires: datetime | None,
    owner: str,
    note: str,
    quiet: bool,
) -> None:
    """Make a token and show it, this once."""
    with _tokens() as tokens:
        made, text = tokens.create(
            [Right(right) for right in rights],
            models=models or None,
            expires_at=expires,
            note=note,
            owner=owner,
        )
    if quiet:
        click.echo(text)
        return
    until = "until it is revoked" if made.expires_at is None else f"until {_time(made.expires_at)} UTC"
    click.echo(f"token {made.id}: {_rights(made)} on {_models(made)}, {until}")
    click.echo(text)
    click.echo("It is shown this once. Send it as `Authorization: Bearer TOKEN`; our clients read MLFLOW_EXT_TOKEN.")


@token.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_(as_json: bool) -> None:
    """Show every token, without its secret."""
    with _tokens() as tokens:
        found = tokens.all()
    now = datetime.now(UTC)
    if as_json:
        click.echo(json.dumps([_document(one, now) for one in found], indent=2))
        return
    if not found:
        click.echo("there are no tokens yet; `mlflow-ext token create --right score` makes one")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("token", no_wrap=True)
    for heading in ("state", "rights", "models", "expires (UTC)", "owner", "made by", "note"):
        table.add_column(heading, overflow="fold")
    for one in found:
        state = one.state(now)
        expires = "never" if one.expires_at is None else _time(one.expires_at)
        words = (_rights(one), _models(one), expires, one.owner, one.created_by, one.note)
        table.add_row(one.id, f"[{_COLOURS[state]}]{state}[/]", *(Text(word) for word in words))
    Console(highlight=False).print(table)


@token.command()
@click.argument("ids", metavar="ID…", nargs=-1, required=True)
def revoke(ids: tuple[str, ...]) -> None:
    """Revoke tokens, by id or by their whole text; every scoring process refuses them within 5 seconds."""
    with _tokens() as tokens:
        for given in ids:
            one = tokens.revoke(token_id(given))
            at = "" if one.revoked_at is None else f" since {_time(one.revoked_at)} UTC"
            click.echo(f"token {one.id} is revoked{at}")


@contextmanager
def _tokens() -> "Iterator[Tokens]":
    from mlflow_ext.bootstrap import services
    from mlflow_ext.store.tokens import Tokens

    with services(name="mlflow-ext token") as parts:
        yield Tokens(parts.engine)


def _document(one: Token, now: datetime) -> dict[str, Any]:
    def when(at: datetime | None) -> str | None:
        return None if at is None else at.isoformat()

    return {
        "id": one.id,
        "state": one.state(now),
        "rights": sorted(one.rights),
        "models": None if one.models is None else sorted(one.models),
        "note": one.note,
        "owner": one.owner,
        "created_by": one.created_by,
        "created_at": when(one.created_at),
        "expires_at": when(one.expires_at),
        "revoked_by": one.revoked_by,
        "revoked_at": when(one.revoked_at),
    }


def _rights(one: Token) -> str:
    return ", ".join(sorted(one.rights))


def _models(one: Token) -> str:
    return "every model" if one.models is None else ", ".join(sorted(one.models))


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
