"""The short way of usual requests: around the web framework, straight to the version's plan.

Wraps the application. Whatever is not exactly what a plan knows (another route, method, content type, encoding, body)
goes on to the application as it came, so every other answer and every error is given there and nowhere else.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlflow_ext.domain.tokens import Right
from serving.authority import Refusal
from serving.batcher import INLINE_BYTES, Waiting
from serving.parts import Parts
from serving.plan import JSON_TYPES, Plan
from serving.pool import LoadedVersion
from serving.request_id import request_id
from serving.routes.scoring import version_headers
from serving.scoring import Scored, ScoringRequest, too_late
from serving.web import REQUEST_ID, response

logger = logging.getLogger(__name__)

_PREFIX, _SUFFIX = "/models/", "/invocations"
_TYPES = {name.encode(): name for name in JSON_TYPES}
_HOT_HEADERS = frozenset({b"authorization", b"content-type", b"x-request-id", b"content-length"})
_UNUSUAL = frozenset({b"content-encoding", b"expect"})


class HotPath:
    """ASGI application around another."""

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        """Take the whole application and its parts."""
        self._app = app
        self._authority = parts.authority
        self._scorer = parts.scorer
        self._pool = parts.pool
        self._default = parts.settings.default_model
        self._admission = parts.admission
        self._limit = parts.settings.max_body_bytes
        self._max_rows = parts.settings.max_rows
        self._timeout_s = parts.settings.request_timeout_s
        self._batcher = parts.batcher
        self.others_wait: Callable[[], bool] = lambda: True
        """Whether more than one request is being handled; set by the server, which knows."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        seen: list[Message] = []
        try:
            answer = await self._try(scope, receive, seen)
        # nothing has been sent yet, so the application can still say it in its own way
        except Exception:
            logger.exception("event=hot_path_failed path=%r", scope["path"])
            answer = None
        await (answer or self._app)(scope, _replayed(seen, receive), send)

    async def _try(self, scope: Scope, receive: Receive, seen: list[Message]) -> ASGIApp | None:
        """Give what answers a request that a plan knows; `None` for any other. Keeps what it received in `seen`."""
        loaded = self._wanted(scope)
        headers = _headers(scope)
        if loaded is None or loaded.plan is None or headers is None:
            return None
        caller = self._authority.check(headers.get(b"authorization"), Right.SCORE, loaded.model)
        if isinstance(caller, Refusal):
            return None
        content_type = _TYPES.get(headers.get(b"content-type", b""))
        # a body that says it is too large need not be waited for
        if content_type is None or int(headers.get(b"content-length", 0)) > self._limit:
            return None
        # who finds no room is told so by the application
        if self._admission.full or not self._admission.enter():
            return None
        try:
            return await self._admitted(loaded, loaded.plan, headers, content_type, receive, seen)
        finally:
            self._admission.leave()

    async def _admitted(
        self,
        loaded: LoadedVersion,
        plan: Plan,
        headers: dict[bytes, bytes],
        content_type: str,
        receive: Receive,
        seen: list[Message],
    ) -> ASGIApp | None:
        body = await _read(receive, self._limit, seen)
        if body is None:
            return None
        id_ = request_id(headers.get(b"x-request-id", b"").decode("latin-1") or None)
        began = time.perf_counter()
        try:
            answer = await self._answer(loaded, plan, body, content_type, id_, began)
        except TimeoutError:
            late = Scored(too_late(self._timeout_s), loaded)
            asked = ScoringRequest(id_, loaded.model, None, body, content_type)
            self._scorer.count(asked, late, time.perf_counter() - began)
            return response(late.answer, id_, {**version_headers(loaded), REQUEST_ID: id_})
        return None if answer is None else _Answer(loaded, id_, answer)

    def _wanted(self, scope: Scope) -> LoadedVersion | None:
        path: str = scope["path"]
        model = self._default
        if path != _SUFFIX:
            if not (path.startswith(_PREFIX) and path.endswith(_SUFFIX)):
                return None
            model = path[len(_PREFIX) : -len(_SUFFIX)]
        champion = self._pool.serving(model) if model else None
        return champion.loaded if champion else None

    async def _answer(
        self, loaded: LoadedVersion, plan: Plan, body: bytes, content_type: str, id_: str, began: float
    ) -> bytes | None:
        loop = asyncio.get_running_loop()
        small = len(body) <= INLINE_BYTES
        rows = plan.rows(body) if small else await self._batcher.on_thread(plan.rows, body)
        # too many rows, the application refuses
        if rows is None or len(rows) > self._max_rows:
            return None
        one = Waiting(id_, body, content_type, rows, began, loop.create_future())
        if not small:
            work = self._batcher.on_thread(self._batcher.at_once, loaded, plan, one)
            return await asyncio.wait_for(work, self._timeout_s)
        if plan.inline and not self.others_wait():
            return self._batcher.at_once(loaded, plan, one)
        self._batcher.submit(loaded, plan, one)
        if plan.inline:
            return await one.answer
        return await asyncio.wait_for(one.answer, self._timeout_s)


def _headers(scope: Scope) -> dict[bytes, bytes] | None:
    """Give the headers that matter; `None` when one asks for more than the short way can do."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _UNUSUAL or (name in _HOT_HEADERS and name in found):
            return None
        found[name] = value
    return found


async def _read(receive: Receive, limit: int, seen: list[Message]) -> bytes | None:
    """Read a body; `None` when it is larger than allowed or the client has gone."""
    size, more = 0, True
    while more and size <= limit:
        message = await receive()
        seen.append(message)
        if message["type"] != "http.request":
            return None
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    if size > limit:
        return None
    return b"".join([one.get("body", b"") for one in seen])


def _replayed(seen: list[Message], receive: Receive) -> Receive:
    left = iter(seen)

    async def replay() -> Message:
        message = next(left, None)
        return message if message is not None else await receive()

    return replay


class _Answer:
    """A plan's answer; sends itself."""

    __slots__ = ("_body", "_id", "_loaded")

    def __init__(self, loaded: LoadedVersion, id_: str, body: bytes) -> None:
        self._loaded, self._id, self._body = loaded, id_, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self._body)),
            (b"x-request-id", self._id.encode()),
            *((name.lower().encode(), value.encode()) for name, value in version_headers(self._loaded).items()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})
