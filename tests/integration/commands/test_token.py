"""`mlflow-ext token`: make, list, revoke, as a person and as a script use it."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mlflow_ext.cli import cli
from mlflow_ext.domain.tokens import TOKEN_PATTERN, token_digest, token_id
from mlflow_ext.errors import MlflowExtError, NotFoundError
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.tokens import Tokens


@pytest.fixture
def run(database_url: str) -> Any:
    """Run `mlflow-ext token ARGUMENTS` and give its output."""

    def invoke(*arguments: str) -> str:
        environment = {"MLFLOW_EXT_DATABASE_URL": database_url, "MLFLOW_EXT_ACTOR": "ann", "COLUMNS": "200"}
        done = CliRunner().invoke(cli, ["token", *arguments], env=environment, standalone_mode=False)
        if done.exception:
            raise done.exception
        return done.stdout

    return invoke


def test_a_token_is_shown_once(run: Any, database_url: str) -> None:
    """`create` prints it between words for a person, `--quiet` prints it alone, and `list` never shows it again."""
    said = run(
        "create", "--right", "score", "--right", "feedback", "--model", "wine", "--expires", "90d", "--note", "till"
    )
    (text,) = re.findall(rf"^({TOKEN_PATTERN})$", said, re.MULTILINE)[0][:1]
    assert f"token {token_id(text)}: feedback, score on wine, until" in said
    alone = run("create", "--right", "admin", "--quiet")
    assert re.fullmatch(TOKEN_PATTERN + "\n", alone)
    listed, drawn = json.loads(run("list", "--json")), run("list")
    first = listed[0]
    assert (first["id"], first["state"], first["rights"]) == (token_id(text), "active", ["feedback", "score"])
    assert (first["models"], first["note"]) == (["wine"], "till")
    assert first["created_by"].partition(":")[2].startswith("ann@")
    ahead = datetime.fromisoformat(first["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < ahead <= timedelta(days=90)
    assert (listed[1]["models"], listed[1]["expires_at"]) == (None, None)
    for shown in (json.dumps(listed), drawn):
        assert text[-43:] not in shown
        assert token_digest(text).hex() not in shown
    assert [word in drawn for word in (token_id(text), "till", "every model", "never")] == [True] * 4
    engine = make_engine(database_url)
    assert Tokens(engine).all()[0].sha256 == token_digest(text)
    engine.dispose()


def test_a_token_is_revoked_by_id_or_by_its_text(run: Any) -> None:
    """Several at once; again is fine; what is unknown is an error."""
    one, two = (run("create", "--right", "score", "--quiet").strip() for _ in range(2))
    said = run("revoke", token_id(one), two)
    assert [f"token {token_id(text)} is revoked" in said for text in (one, two)] == [True, True]
    run("revoke", one)
    listed = json.loads(run("list", "--json"))
    assert [token["state"] for token in listed] == ["revoked"] * 2
    assert all(token["revoked_by"].partition(":")[2].startswith("ann@") for token in listed)
    with pytest.raises(NotFoundError, match="token list"):
        run("revoke", "ffffffffffffffff")


def test_an_empty_list_says_what_to_do(run: Any) -> None:
    """The first one who looks is told how to make one."""
    assert "token create" in run("list")
    assert json.loads(run("list", "--json")) == []


@pytest.mark.parametrize(
    ("given", "ahead"),
    [
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("4w", timedelta(weeks=4)),
    ],
)
def test_an_expiry_may_be_a_span(run: Any, given: str, ahead: timedelta) -> None:
    """Minutes, hours, days, weeks from now."""
    run("create", "--right", "read", "--expires", given)
    expires = datetime.fromisoformat(json.loads(run("list", "--json"))[0]["expires_at"])
    assert abs(expires - datetime.now(UTC) - ahead) < timedelta(minutes=1)


def test_an_expiry_may_be_a_time(run: Any) -> None:
    """A date is its first moment, and a time is UTC unless it says otherwise."""
    for given in ("2999-01-31", "2999-01-31T18:00", "2999-01-31T18:00+01:00"):
        run("create", "--right", "read", "--expires", given)
    found = [one["expires_at"] for one in json.loads(run("list", "--json"))]
    assert found == [f"2999-01-31T{time}:00+00:00" for time in ("00:00", "18:00", "17:00")]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--right", "fly"),
        (),
        ("--right", "score", "--expires", "soon"),
        ("--right", "score", "--expires", "1y"),
        ("--right", "score", "--expires", "99999999999d"),
        ("--right", "score", "--expires", "2001-01-01"),
        ("--right", "score", "--expires", "0d"),
        ("--right", "score", "--model", ""),
    ],
)
def test_what_cannot_be_is_refused(run: Any, arguments: tuple[str, ...]) -> None:
    """A right that is none, none at all, and an expiry that is none or over; nothing is made."""
    with pytest.raises((click.UsageError, MlflowExtError)):
        run("create", *arguments)
    assert json.loads(run("list", "--json")) == []
