"""`mlflow-ext audit`: what it prints, and when it fails."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from mlflow_ext.commands.audit import audit
from mlflow_ext.domain.actors import Actor, Source, acting_as
from mlflow_ext.errors import NotFoundError
from mlflow_ext.store.audit import SqlAudit
from tests.integration.store.audited import write_story


@pytest.fixture(autouse=True)
def settings(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands work on the test's database."""
    monkeypatch.setenv("MLFLOW_EXT_DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, stdin: str = "") -> Result:
    """Run the command; errors of ours come out as they are."""
    return CliRunner().invoke(audit, arguments, input=stdin, catch_exceptions=False)


def test_the_question_of_the_past_is_answered_in_sentences(engine: Engine) -> None:
    """Version, who, and the steps of the promotion with policy and report; the same as JSON."""
    with acting_as(Actor("alice", Source.UI)):
        write_story(engine, ["wine"], rounds=2)
    now = SqlAudit(engine).entries("wine")[-1].at.isoformat()
    said = run("at", now, "--model", "wine").output
    assert "version 2 was in Production" in said
    assert "brought there by alice (ui)" in said
    assert "promotion:gates_passed by alice" in said
    assert "policy 000000000000, report " in said
    document = json.loads(run("at", now, "--model", "wine", "--json").output)
    assert (document["version"], document["brought"]["actor"], len(document["promotion"])) == (2, "alice", 3)


def test_what_nobody_judged_is_said(engine: Engine) -> None:
    """A version that a person moved has no gates on record."""
    write_story(engine, ["wine"], rounds=1)
    with engine.begin() as connection:
        connection.execute(text("UPDATE model_versions SET current_stage = 'None' WHERE name = 'wine'"))
    assert "nothing was in Production" in run("at", "2999-01-01", "--model", "wine").output
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM registered_model_aliases"))
        connection.execute(
            text(
                "INSERT INTO model_versions (name, version, workspace, current_stage) "
                "VALUES ('wine', 7, 'default', 'Production')"
            )
        )
    said = run("at", "2999-01-01", "--model", "wine").output
    assert "version 7 was in Production" in said
    assert "no promotion led there: no gates are on record" in said


def test_the_trail_is_shown_for_people_and_programs(engine: Engine) -> None:
    """Every entry, or those of one version, newest last."""
    write_story(engine, ["wine"], rounds=2)
    assert "promotion:published" in run("show", "wine").output
    entries = json.loads(run("show", "wine", "--version", "2", "--limit", "3", "--json").output)
    assert [entry["action"] for entry in entries][-2:] == ["alias:set", "tag:set"]
    assert {entry["version"] for entry in entries} == {2}
    with pytest.raises(NotFoundError):
        run("show", "nothing")


def test_verify_fails_when_something_was_changed(engine: Engine) -> None:
    """Exit code 0 and `whole`; exit code 1 and what it is; one model's chain does not answer for another's."""
    write_story(engine)
    whole = run("verify")
    assert (whole.exit_code, re.sub(r"\d\d", "N", whole.output.strip())) == (0, "3 chains with N entries: whole")
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("UPDATE mlflow_ext.audit SET actor = 'bob' WHERE model = 'wine' AND seq = 3"))
    broken = run("verify")
    assert broken.exit_code == 1
    assert "wine: entry 3 was changed after it was written" in broken.output
    assert run("verify", "beer").exit_code == 0
    assert json.loads(run("verify", "wine", "--json").output)["ok"] is False


def test_exported_heads_are_expected(engine: Engine, tmp_path: Path) -> None:
    """What `heads` prints, `verify --expect` reads, from a file or from standard input."""
    write_story(engine, ["wine"], rounds=1)
    heads = run("heads").output
    (tmp_path / "heads.json").write_text(heads, encoding="utf-8")
    assert run("verify", "--expect", "heads.json").exit_code == 0
    longer = json.dumps([{**one, "length": one["length"] + 1} for one in json.loads(heads)])
    assert run("verify", "--expect", "-", stdin=longer).exit_code == 1
    assert "not what `mlflow-ext audit heads` prints" in run("verify", "--expect", "-", stdin="[1]").output


def test_a_time_that_is_none_is_refused() -> None:
    """Usage error, with an example."""
    result = run("at", "yesterday", "--model", "wine")
    assert (result.exit_code, "2026-11-03T12:00" in result.output) == (2, True)
