"""Tokens kept on this machine: what comes back, who may read it, and what happens to a damaged file."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_ext.domain.tokens import Right
from serving.authority import Authority, Caller, Refusal
from serving.token_file import TokenFile
from tests.unit.serving.tokens import AHEAD, PAST, bearer, token


def test_what_was_kept_judges_as_before(tmp_path: Path) -> None:
    """Rights, limits, expiry and revocation come back; the file holds no secret and is its owner's alone."""
    limited, text = token(Right.SCORE, Right.READ, models={"wine"}, expires_at=AHEAD)
    revoked, revoked_text = token(Right.ADMIN, revoked_at=PAST)
    file = TokenFile(tmp_path / "tokens.json")
    assert file.read() is None
    file.write([])
    file.write([limited, revoked])
    assert file.read() == [limited, revoked]
    authority = Authority()
    authority.renew(file.read() or [])
    assert isinstance(authority.check(bearer(text), "score", "wine"), Caller)
    for header, model in ((bearer(text), "beer"), (bearer(revoked_text), "wine")):
        assert isinstance(authority.check(header, "score", model), Refusal)
    assert text[-43:] not in file.path.read_text()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.json"]


def test_only_what_judging_needs_is_kept(tmp_path: Path) -> None:
    """Notes and names of people stay in the database."""
    file = TokenFile(tmp_path / "tokens.json")
    file.write([replace(token(Right.SCORE)[0], note="till 4", created_by="ann", revoked_by="bob")])
    assert not {"till 4", "ann", "bob"} & {*map(str, json.loads(file.path.read_text())[0].values())}


@pytest.mark.parametrize("content", ["", "[", "{}", "[1]", "[{}]", '[{"id": "a"}]', '"text"', "null", "\x00", "[[]]"])
def test_a_damaged_file_is_no_file(tmp_path: Path, content: str) -> None:
    """Whatever is in it, nobody is let in by it and nothing fails."""
    file = TokenFile(tmp_path / "tokens.json")
    file.path.write_text(content)
    assert not file.read()


def test_a_directory_that_cannot_be_written_is_no_reason_to_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The tokens are in force all the same."""
    TokenFile(tmp_path / "missing" / "tokens.json").write([token(Right.SCORE)[0]])
    assert "event=not_kept" in caplog.text
