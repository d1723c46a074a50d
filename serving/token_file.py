"""The tokens as last read, in a file of this machine: for processes that start while PostgreSQL is away.

It holds no secrets, only their SHA-256. How it is written: `kept_file.py`.
"""

import logging
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow_ext.domain.tokens import Right, Token
from serving.kept_file import keep, kept

logger = logging.getLogger(__name__)


class TokenFile:
    """Tokens in one file that only its owner may read; several processes may write it, each the whole of it."""

    def __init__(self, path: Path) -> None:
        """Take where it is."""
        self.path = path

    def write(self, tokens: Iterable[Token]) -> None:
        """Replace what was kept."""
        keep(self.path, [_document(token) for token in tokens])

    def read(self) -> list[Token] | None:
        """Give what was kept; `None` when there is nothing, or nothing that can be understood."""
        document = kept(self.path)
        try:
            return None if document is None else [_token(one) for one in document]
        except (ValueError, KeyError, TypeError) as exc:
            logger.warning("event=kept_unread path=%r reason=%r", str(self.path), str(exc))
            return None


def _document(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "sha256": token.sha256.hex(),
        "rights": sorted(token.rights),
        "models": None if token.models is None else sorted(token.models),
        "owner": token.owner,
        "expires_at": _text(token.expires_at),
        "revoked_at": _text(token.revoked_at),
    }


def _token(document: dict[str, Any]) -> Token:
    models = document["models"]
    return Token(
        id=document["id"],
        sha256=bytes.fromhex(document["sha256"]),
        rights=frozenset(Right(right) for right in document["rights"]),
        models=None if models is None else frozenset(models),
        owner=document.get("owner", ""),
        expires_at=_time(document["expires_at"]),
        revoked_at=_time(document["revoked_at"]),
    )


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
