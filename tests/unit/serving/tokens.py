"""Tokens for tests, with their texts, as a scoring process would have read them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mlflow_ext.domain.tokens import Right, Token, new_token_text, token_digest, token_id

NOW = datetime.now(UTC)
PAST, AHEAD = NOW - timedelta(hours=1), NOW + timedelta(hours=1)


def token(*rights: Right, models: set[str] | None = None, **fields: Any) -> tuple[Token, str]:
    """Make a token."""
    text = new_token_text()
    limited = None if models is None else frozenset(models)
    return replace(Token(token_id(text), token_digest(text), frozenset(rights), limited), **fields), text


def bearer(text: str) -> bytes:
    """Write the header that shows a token."""
    return b"Bearer " + text.encode()
