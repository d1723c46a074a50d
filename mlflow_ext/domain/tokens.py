"""Tokens: who may ask the promotion service for what. Kept in `store/tokens.py`, judged in `serving/authority.py`."""

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

_PREFIX = "mlx"
"""So that people and scanners of leaked secrets know a token when they see one."""
_ID_BYTES = 8
_SECRET_BYTES = 32
TOKEN_PATTERN = rf"{_PREFIX}_([0-9a-f]{{{2 * _ID_BYTES}}})_[A-Za-z0-9_-]{{43}}"
"""A token's text: prefix, id, and 256 random bits in URL-safe base64. The group is the id."""


class Right(StrEnum):
    """What a token allows."""

    SCORE = "score"
    READ = "read"
    FEEDBACK = "feedback"
    PROMOTE = "promote"
    APPROVE = "approve"
    ADMIN = "admin"
    """Everything."""


class TokenState(StrEnum):
    """Whether a token is good."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept: everything but the secret.

    Attributes:
        id: Names it; no secret.
        sha256: SHA-256 of its whole text.
        rights: What it allows.
        models: Registered models that it is limited to; `None` means every model and the service as a whole.
        note: What it is for, in its maker's words.
        owner: Person who uses it; empty for a program.
        created_by: Who made it.
        created_at: When.
        expires_at: From when it is refused; `None` means never.
        revoked_at: When it was revoked, if it was.
        revoked_by: Who revoked it.
    """

    id: str
    sha256: bytes = field(repr=False)
    rights: frozenset[Right]
    models: frozenset[str] | None = None
    note: str = ""
    owner: str = ""
    created_by: str = ""
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str = ""

    def state(self, now: datetime) -> TokenState:
        """Say whether it is good at a time."""
        if self.revoked_at is not None:
            return TokenState.REVOKED
        if self.expires_at is not None and self.expires_at <= now:
            return TokenState.EXPIRED
        return TokenState.ACTIVE


def new_token_text() -> str:
    """Make a token: an id and a secret that nobody can guess (256 bit)."""
    return f"{_PREFIX}_{secrets.token_hex(_ID_BYTES)}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def token_digest(text: str | bytes) -> bytes:
    """Give what is kept of a token's text.

    SHA-256 without salt or stretching is enough here: 256 random bits cannot be tried out, unlike a password.
    """
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).digest()


def token_id(text: str) -> str:
    """Give the id of a token's text; other text is taken for an id."""
    whole = re.fullmatch(TOKEN_PATTERN, text)
    return whole[1] if whole else text
