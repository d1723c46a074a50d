"""Reading tokens again and again: what changes, what stays while nothing can be read, and that nothing ends it."""

import logging
import threading
from pathlib import Path

import pytest

from mlflow_ext.domain.tokens import Right, Token
from mlflow_ext.errors import UnavailableError
from mlflow_ext.testing import MemoryNotifications
from serving.authority import Authority, Caller
from serving.token_file import TokenFile
from serving.token_watch import ANSWER_WITHIN_S, EVERY_S, TokenWatch
from tests.conftest import wait_until
from tests.unit.serving.tokens import bearer, token


class Table:
    """A table of tokens that can be away."""

    def __init__(self, *tokens: Token) -> None:
        """Hold tokens."""
        self.tokens: list[Token] = list(tokens)
        self.failure: Exception | None = None
        self.looks = 0
        self.readings = 0

    def fingerprint(self) -> str:
        """Tell whether they changed, or fail."""
        self.looks += 1
        if self.failure is not None:
            raise self.failure
        return repr(self.tokens)

    def in_force(self) -> list[Token]:
        """Give them."""
        self.readings += 1
        return list(self.tokens)


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    """Where tokens are kept."""
    return TokenFile(tmp_path / "tokens.json")


def test_a_revocation_is_known_within_five_seconds() -> None:
    """The pause between two readings and the longest reading together leave a second to spare."""
    assert EVERY_S + 2 * ANSWER_WITHIN_S < 5


def test_tokens_are_known_from_the_start_and_followed(file: TokenFile) -> None:
    """The first reading is done when `start` returns; later ones bring what is new and take what is gone."""
    (one, text), (two, other) = token(Right.SCORE), token(Right.SCORE)
    table, authority = Table(one), Authority()
    watch = TokenWatch(authority, table, MemoryNotifications(), file, every_s=0.01)
    watch.start()
    try:
        assert isinstance(authority.check(bearer(text), "score", None), Caller)
        table.tokens = [two]
        wait_until(lambda: isinstance(authority.check(bearer(other), "score", None), Caller), 5)
        assert not isinstance(authority.check(bearer(text), "score", None), Caller)
    finally:
        watch.stop()
    done = table.looks
    assert not {"tokens", "tokens-listen"} & {thread.name for thread in threading.enumerate()}
    assert (table.looks, table.readings) == (done, 2)


@pytest.mark.parametrize("failure", [UnavailableError("away"), ValueError("not foreseen")])
def test_what_was_read_stays_in_force_while_nothing_can_be_read(
    failure: Exception, file: TokenFile, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage closes no door and opens none; it is told, and so is its end, and the thread survives it."""
    caplog.set_level(logging.INFO)
    (one, text), (two, other) = token(Right.SCORE), token(Right.SCORE)
    table, authority = Table(one), Authority()
    watch = TokenWatch(authority, table, MemoryNotifications(), file, every_s=0.01)
    watch.start()
    try:
        table.failure = failure
        seen = table.looks
        wait_until(lambda: table.looks > seen + 3, 5)
        assert isinstance(authority.check(bearer(text), "score", None), Caller)
        table.tokens, table.failure = [two], None
        wait_until(lambda: isinstance(authority.check(bearer(other), "score", None), Caller), 5)
    finally:
        watch.stop()
    events = [record.getMessage().partition(" ")[0] for record in caplog.records if record.name.startswith("serving")]
    assert "event=tokens_unread" in events
    assert events[-1] == "event=tokens_read"
    assert file.read() == [two]
    if isinstance(failure, UnavailableError):
        assert events.count("event=tokens_unread") == 1


def test_without_a_first_reading_the_service_waits(file: TokenFile) -> None:
    """Nobody is let in before the tokens have been read once."""
    table, authority = Table(), Authority()
    table.failure = UnavailableError("away")
    watch = TokenWatch(authority, table, MemoryNotifications(), file, every_s=0.01)
    watch.start()
    try:
        assert not authority.is_ready
        table.failure = None
        wait_until(lambda: authority.is_ready, 5)
    finally:
        watch.stop()


def test_a_process_that_starts_without_postgresql_knows_the_tokens_of_before(file: TokenFile) -> None:
    """What another process of this machine read last is in force until the table can be read."""
    (one, text), (two, other) = token(Right.SCORE), token(Right.SCORE)
    file.write([one])
    table, authority = Table(two), Authority()
    table.failure = UnavailableError("away")
    watch = TokenWatch(authority, table, MemoryNotifications(), file, every_s=0.01)
    watch.start()
    try:
        assert isinstance(authority.check(bearer(text), "score", None), Caller)
        table.failure = None
        wait_until(lambda: isinstance(authority.check(bearer(other), "score", None), Caller), 5)
        assert not isinstance(authority.check(bearer(text), "score", None), Caller)
    finally:
        watch.stop()


def test_a_table_that_can_be_read_is_believed_rather_than_the_file(file: TokenFile) -> None:
    """A revoked token does not come back from the file."""
    one, text = token(Right.SCORE)
    file.write([one])
    authority = Authority()
    watch = TokenWatch(authority, Table(), MemoryNotifications(), file, every_s=3600)
    watch.start()
    watch.stop()
    assert not isinstance(authority.check(bearer(text), "score", None), Caller)
    assert file.read() == []


def test_news_are_followed_at_once(file: TokenFile) -> None:
    """A token that was just made works without waiting for the next reading."""
    one, text = token(Right.SCORE)
    table, authority, notifications = Table(), Authority(), MemoryNotifications()
    watch = TokenWatch(authority, table, notifications, file, every_s=3600)
    watch.start()
    try:
        assert not isinstance(authority.check(bearer(text), "score", None), Caller)
        table.tokens = [one]
        notifications.notify(one.id)
        wait_until(lambda: isinstance(authority.check(bearer(text), "score", None), Caller), 5)
        assert table.readings == 2
    finally:
        watch.stop()
