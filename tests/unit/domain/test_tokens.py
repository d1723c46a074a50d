"""Tokens: their text, what is kept of it, and when they are good."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from mlflow_ext.domain.tokens import (
    TOKEN_PATTERN,
    Right,
    Token,
    TokenState,
    new_token_text,
    token_digest,
    token_id,
)

NOW = datetime(2027, 1, 1, tzinfo=UTC)
EARLIER, LATER = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)


def test_a_token_has_an_id_and_256_random_bits() -> None:
    """Texts are all different, in their ids and in their secrets of 43 base64 characters (≥ 256 bit)."""
    made = [new_token_text() for _ in range(200)]
    assert all(re.fullmatch(TOKEN_PATTERN, text) for text in made)
    assert len({token_id(text) for text in made}) == len({text[-43:] for text in made}) == 200


def test_the_secret_is_not_kept() -> None:
    """What is kept is a SHA-256, and a token does not show even that."""
    text = new_token_text()
    token = Token(token_id(text), token_digest(text), frozenset({Right.SCORE}))
    assert len(token.sha256) == 32
    assert token_digest(text.encode()) == token.sha256
    assert text[-43:] not in repr(token)
    assert "sha256" not in repr(token)


def test_an_id_is_its_own_id() -> None:
    """Whoever pastes a whole token where an id is wanted is understood."""
    text = new_token_text()
    assert token_id(token_id(text)) == token_id(text) == text.split("_")[1]


@pytest.mark.parametrize(
    ("expires_at", "revoked_at", "state"),
    [
        (None, None, TokenState.ACTIVE),
        (LATER, None, TokenState.ACTIVE),
        (NOW, None, TokenState.EXPIRED),
        (EARLIER, None, TokenState.EXPIRED),
        (None, EARLIER, TokenState.REVOKED),
        (EARLIER, EARLIER, TokenState.REVOKED),
    ],
)
def test_a_token_is_good_until_it_expires_or_is_revoked(
    expires_at: datetime | None, revoked_at: datetime | None, state: TokenState
) -> None:
    """Expiry counts from its very moment; a revoked token is revoked whatever its expiry."""
    token = Token("a", b"", frozenset(), expires_at=expires_at, revoked_at=revoked_at)
    assert token.state(NOW) is state
