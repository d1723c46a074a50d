"""Who may ask for what: judges the `Authorization` header of a request against the tokens as last read.

No database here: `token_watch.py` brings the tokens. Which route needs which right stands in `access.py`.
"""

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from time import time
from typing import Any

from mlflow_ext.domain.tokens import TOKEN_PATTERN, Right, Token, token_digest

REMEMBERED = 4096
"""Header values whose token is remembered; only good ones are, so strangers cannot fill this."""
_NO_DIGEST = bytes(32)
_HEADER = re.compile(rb"(?i:bearer) {1,9}(%s) {0,9}" % TOKEN_PATTERN.encode())
_EVERYTHING = frozenset(right.value for right in Right)
_REALM = 'Bearer realm="mlflow-ext"'


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who showed a good token.

    Attributes:
        token_id: The token's id; empty where everybody may ask.
        rights: What the token allows.
        models: Models that it is limited to; `None` means all, and the service as a whole.
        expires_at: From when it is refused, in seconds since the epoch.
        owner: Person who uses it; empty for a program.
    """

    token_id: str
    rights: frozenset[str] = _EVERYTHING
    models: frozenset[str] | None = None
    expires_at: float = float("inf")
    owner: str = ""

    def sees(self, model: str) -> bool:
        """Tell whether a model is one of the caller's."""
        return self.models is None or model in self.models


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered.

    Attributes:
        status: HTTP status.
        code: Error code of the answer.
        reason: For counters: `missing`, `malformed`, `unknown`, `expired`, `revoked`, `right`, `model` or `unread`.
        message: For the caller: what is wrong and what to do.
        challenge: Value of `WWW-Authenticate` (RFC 6750); empty for none.
    """

    status: int
    code: str
    reason: str
    message: str
    challenge: str = ""


ANYONE = Caller("")
_GET_ONE = "`mlflow-ext token create` makes one"


def _unauthenticated(reason: str, message: str, challenge: str = f'{_REALM}, error="invalid_token"') -> Refusal:
    return Refusal(401, "UNAUTHENTICATED", reason, message, challenge)


MISSING = _unauthenticated("missing", f"send a token as `Authorization: Bearer TOKEN`; {_GET_ONE}", _REALM)
MALFORMED = _unauthenticated("malformed", f"Authorization must be `Bearer TOKEN`, with one token; {_GET_ONE}")
UNKNOWN = _unauthenticated("unknown", f"no such token is known; {_GET_ONE}")
EXPIRED = _unauthenticated("expired", f"the token has expired; {_GET_ONE}")
REVOKED = _unauthenticated("revoked", f"the token was revoked; {_GET_ONE}")
UNREAD = Refusal(503, "TEMPORARILY_UNAVAILABLE", "unread", "The tokens could not be read from PostgreSQL yet.")


def without_right(right: str) -> Refusal:
    """Refuse a token that does not allow this."""
    challenge = f'{_REALM}, error="insufficient_scope", scope="{right}"'
    return Refusal(403, "PERMISSION_DENIED", "right", f"the token does not have the right `{right}`", challenge)


def without_model(right: str, model: str | None) -> Refusal:
    """Refuse a token that is limited to other models."""
    of = "the service as a whole" if model is None else "this model"
    challenge = f'{_REALM}, error="insufficient_scope", scope="{right}"'
    return Refusal(403, "PERMISSION_DENIED", "model", f"the token is limited to models, and not for {of}", challenge)


class _Snapshot:
    """The tokens as they were at one time. It is swapped whole, with what was remembered under it."""

    __slots__ = ("seen", "tokens")

    def __init__(self, tokens: dict[bytes, Token]) -> None:
        self.tokens = tokens
        self.seen: dict[bytes | None, Caller] = {}

    def judge(self, authorization: bytes | None) -> Caller | Refusal:
        """Find the token of a header value, and remember it if it is good."""
        if authorization is None:
            return MISSING
        header = _HEADER.fullmatch(authorization)
        if header is None:
            return MALFORMED
        text, id_ = header.groups()
        token = self.tokens.get(id_)
        # the same work whether or not there is such an id
        matches = hmac.compare_digest(token_digest(text), token.sha256 if token else _NO_DIGEST)
        if token is None or not matches:
            return UNKNOWN
        if token.revoked_at is not None:
            return REVOKED
        caller = _caller(token)
        if len(self.seen) >= REMEMBERED:
            self.seen.clear()
        self.seen[authorization] = caller
        return caller


class Authority:
    """Judges requests by the tokens as last read; a few dictionary look-ups for a token that was seen before.

    Any thread may ask at any time, also while another renews.
    """

    def __init__(self, *, open_to_all: bool = False) -> None:
        """Begin without tokens.

        Args:
            open_to_all: Everybody may do everything (`auth: none`).
        """
        self._open = open_to_all
        self._snapshot: _Snapshot | None = None

    @property
    def open_to_all(self) -> bool:
        """Whether everybody may ask."""
        return self._open

    @property
    def is_ready(self) -> bool:
        """Whether requests can be judged: the tokens have been read, or none are needed."""
        return self._open or self._snapshot is not None

    def renew(self, tokens: Iterable[Token]) -> bool:
        """Judge by these tokens from now on; False when they are those of before."""
        fresh = {token.id.encode(): token for token in tokens}
        if self._snapshot is not None and self._snapshot.tokens == fresh:
            return False
        self._snapshot = _Snapshot(fresh)
        return True

    def identify(self, authorization: bytes | None) -> Caller | Refusal:
        """Say who asks.

        Args:
            authorization: Value of the request's `Authorization` header (`authorization_of` gives it).
        """
        if self._open:
            return ANYONE
        snapshot = self._snapshot
        if snapshot is None:
            return UNREAD if authorization is not None else MISSING
        found = snapshot.seen.get(authorization) or snapshot.judge(authorization)
        # the type of an exact class: this runs for every request
        if type(found) is Caller and found.expires_at <= time():
            return EXPIRED
        return found

    def allow(self, authorization: bytes | None, right: str) -> Caller | Refusal:
        """Judge a request that is about no model, or whose answer leaves out what the caller may not see."""
        found = self.identify(authorization)
        if type(found) is Caller and right not in found.rights:
            return without_right(right)
        return found

    def check(self, authorization: bytes | None, right: str, model: str | None) -> Caller | Refusal:
        """Judge a request about one model.

        Args:
            authorization: Value of the request's `Authorization` header.
            right: What is needed.
            model: Registered model; `None` for the service as a whole, which is closed to tokens limited to models.
        """
        found = self.allow(authorization, right)
        if type(found) is Caller and found.models is not None and model not in found.models:
            return without_model(right, model)
        return found


def authorization_of(scope: Any) -> bytes | None:
    """Give the `Authorization` header of an ASGI request; several become one that is malformed."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    return b", ".join(found) if found else None


def _caller(token: Token) -> Caller:
    rights = _EVERYTHING if Right.ADMIN in token.rights else frozenset(right.value for right in token.rights)
    return Caller(token.id, rights, token.models, _epoch(token.expires_at), token.owner)


def _epoch(at: datetime | None) -> float:
    return float("inf") if at is None else at.timestamp()
