"""The short way of usual requests: around the web framework, straight to the version's plan.

Wraps the application. Whatever is not exactly what a plan knows (another route, method, content type, encoding, body)
goes on to the application as it came, so every other answer and every error is given there and nowhere else.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlflow_ext.domain.tokens import Right
from serving.asked import Asked
from serving.authority import Refusal
from serving.batcher import INLINE_BYTES, Waiting
from serving.parts import Parts
from serving.plan import JSON_TYPES, Plan
from serving.pool import LoadedVersion
from serving.request_id import request_id
from serving.routes.scoring import version_headers
from serving.scoring import Scored, ScoringRequest, too_late
from serving.trace_notes import note
from serving.web import REQUEST_ID, response

logger = logging.getLogger(__name__)

_PREFIX, _SUFFIX = "/models/", "/invocations"
_TYPES = {name.encode(): name for name in JSON_TYPES}
_HOT_HEADERS = frozenset({b"authorization", b"content-type", b"x-request-id", b"content-length"})
_UNUSUAL = frozenset({b"content-encoding", b"expect"})


@dataclass(slots=True, eq=False)
class Admitted:
    """A request that was let in on its headers alone, for a plan that may know it.

    Attributes:
        loaded: The version that answers.
        plan: Its plan.
        content_type: As the client wrote it.
        request_id: The client's own, if it gave one.
        headers: Those of the answer that name the version, as HTTP writes them.
        submitted: Whether its answer is being computed.
    """

    loaded: LoadedVersion
    plan: Plan
    content_type: str
    request_id: str | None
    headers: bytes
    submitted: bool = False


class HotPath:
    """ASGI application around another; `short_connection.py` asks it about small requests before they become ASGI."""

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        """Take the whole application and its parts."""
        self.app = app
        self._authority = parts.authority
        self._scorer = parts.scorer
        self._pool = parts.pool
        self._default = parts.settings.default_model
        self._admission = parts.admission
        self._limit = parts.settings.max_body_bytes
        self._max_rows = parts.settings.max_rows
        self._timeout_s = parts.settings.request_timeout_s
        self._batcher = parts.batcher
        self._heads: WeakKeyDictionary[LoadedVersion, bytes] = WeakKeyDictionary()

    # without ASGI ----------------------------------------------------------------------------------------------------

    def admit(self, path: bytes, headers: list[tuple[bytes, bytes]]) -> Admitted | None:
        """Let a POST request in whose body is announced and small; `None` when it is not for a plan on the event loop.

        Whoever was let in must `leave`.
        """
        found = usual(headers)
        if found is None or not 0 < int(found.get(b"content-length", 0)) <= min(INLINE_BYTES, self._limit):
            return None
        # what an address may be besides a plain path is for the application to read
        if b"%" in path or b"?" in path or b"#" in path:
            return None
        admitted = self._admit(path.decode("latin-1"), found)
        if admitted is not None and not admitted.plan.inline:
            self.leave()
            return None
        return admitted

    def leave(self) -> None:
        """Let a request out, answered or not."""
        self._admission.leave()

    def submit(self, admitted: Admitted, body: bytes, give: Callable[[Waiting, bytes | None], None]) -> bool:
        """Have a small request answered; False when the plan does not know it, and nothing will be given."""
        rows = admitted.plan.rows(body)
        # too many rows, the application refuses
        if rows is None or len(rows) > self._max_rows:
            return False
        id_ = request_id(admitted.request_id)
        one = Waiting(id_, body, admitted.content_type, rows, time.perf_counter(), give)
        admitted.submitted = True
        self._batcher.submit(admitted.loaded, admitted.plan, one)
        return True

    # ASGI ------------------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        seen: list[Message] = []
        try:
            answer = await self._try(scope, receive, seen)
        # nothing has been sent yet, so the application can still say it in its own way
        except Exception:
            logger.exception("event=hot_path_failed path=%r", scope["path"])
            answer = None
        await (answer or self.app)(scope, _replayed(seen, receive), send)

    async def _try(self, scope: Scope, receive: Receive, seen: list[Message]) -> ASGIApp | None:
        """Give what answers a request that a plan knows; `None` for any other. Keeps what it received in `seen`."""
        found = usual(scope["headers"])
        admitted = None if found is None else self._admit(scope["path"], found)
        if admitted is None:
            return None
        try:
            body = await _read(receive, self._limit, seen)
            if body is None:
                return None
            began = time.perf_counter()
            id_ = request_id(admitted.request_id)
            loaded = admitted.loaded
            try:
                answer = await self._answer(admitted, body, id_, began)
            except TimeoutError:
                late = Scored(too_late(self._timeout_s), loaded)
                asked = ScoringRequest(id_, loaded.model, None, Asked("mlflow", body, admitted.content_type))
                self._scorer.count(asked, late, time.perf_counter() - began)
                return response(late.answer, id_, {**version_headers(loaded), REQUEST_ID: id_})
            return None if answer is None else _Answer(loaded, id_, answer)
        finally:
            self.leave()

    async def _answer(self, admitted: Admitted, body: bytes, id_: str, began: float) -> bytes | None:
        small, plan, batcher = len(body) <= INLINE_BYTES, admitted.plan, self._batcher
        rows = plan.rows(body) if small else await batcher.on_thread(plan.rows, body)
        # too many rows, the application refuses
        if rows is None or len(rows) > self._max_rows:
            return None
        note(len(rows), plan.engine)
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        one = Waiting(id_, body, admitted.content_type, rows, began, partial(to_future, future))
        work = future
        if small or plan.goes_apart(len(rows)):
            batcher.submit(admitted.loaded, plan, one)
        else:
            work = batcher.on_thread(batcher.at_once, admitted.loaded, plan, one)
        try:
            return await asyncio.wait_for(work, self._timeout_s)
        except TimeoutError:
            one.late = True
            raise

    # both ------------------------------------------------------------------------------------------------------------

    def _admit(self, path: str, headers: dict[bytes, bytes]) -> Admitted | None:
        loaded = self._wanted(path)
        if loaded is None or loaded.plan is None:
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
        id_ = headers.get(b"x-request-id")
        head = self._heads.get(loaded)
        if head is None:
            named = version_headers(loaded).items()
            lines = ["content-type: application/json", *(f"{name.lower()}: {value}" for name, value in named), ""]
            head = self._heads[loaded] = "\r\n".join(lines).encode()
        return Admitted(loaded, loaded.plan, content_type, id_.decode("latin-1") if id_ else None, head)

    def _wanted(self, path: str) -> LoadedVersion | None:
        model = self._default
        if path != _SUFFIX:
            if not (path.startswith(_PREFIX) and path.endswith(_SUFFIX)):
                return None
            model = path[len(_PREFIX) : -len(_SUFFIX)]
        champion = self._pool.serving(model) if model else None
        return champion.loaded if champion else None


def to_future(future: "asyncio.Future[bytes | None]", one: Waiting, answer: bytes | None) -> None:
    """Give a future its answer, unless nobody waits for it any more."""
    if not future.done():
        future.set_result(answer)


def usual(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes] | None:
    """Give the headers that matter; `None` when one asks for more than the short way can do."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
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
