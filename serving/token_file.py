"""The tokens as last read, in a file of this machine: for processes that start while PostgreSQL is away.

It holds no secrets, only their SHA-256. Who may write it could as well write the models beside it.
"""

import json
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow_ext.domain.tokens import Right, Token

logger = logging.getLogger(__name__)


class TokenFile:
    """Tokens in one file that only its owner may read; several processes may write it, each the whole of it."""

    def __init__(self, path: Path) -> None:
        """Take where it is."""
        self.path = path

    def write(self, tokens: Iterable[Token]) -> None:
        """Replace what was kept; where that is not possible, say so and go on."""
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump([_document(token) for token in tokens], file)
            beside.replace(self.path)
        except OSError as exc:
            logger.warning("event=tokens_not_kept path=%r reason=%r", str(self.path), exc.strerror)
            with suppress(OSError):
                beside.unlink()

    def read(self) -> list[Token] | None:
        """Give what was kept; `None` when there is nothing, or nothing that can be understood."""
        try:
            return [_token(document) for document in json.loads(self.path.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as exc:
            logger.warning("event=kept_tokens_unread path=%r reason=%r", str(self.path), str(exc))
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
