"""The short way of inference requests: around the web framework, into the batches of the version's plan.

Wraps the application, as `serving/hot_path.py` does for MLflow's protocol. Tensors are read and written in
`plan_tensors.py`; whatever that or the plan does not answer (mistakes, big bodies, encodings) goes on to the
application as it came.
"""

import asyncio
import logging
import time
from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlflow_ext.domain.tokens import Right
from mlflow_ext.errors import InvalidInputError
from serving.asked import Asked
from serving.authority import Refusal
from serving.batcher import INLINE_BYTES, Waiting
from serving.bounds import Bounds
from serving.codecs.answer import Answer
from serving.compression import TooLargeError, accepted, compressed
from serving.hot_path import to_future, usual
from serving.openinference.http_form import HEADER_LENGTH
from serving.openinference.messages import InferRequest, read_request, write_answer
from serving.openinference.plan_tensors import request_of, tensor_of
from serving.openinference.tensors import Tensor
from serving.parts import Parts
from serving.plan import Plan
from serving.pool import LoadedVersion
from serving.request_id import request_id
from serving.routes.scoring import version_headers
from serving.scoring import Scored, ScoringRequest, too_late
from serving.trace_notes import note
from serving.web import REQUEST_ID, response

logger = logging.getLogger(__name__)

_PREFIX, _SUFFIX, _VERSIONS = "/v2/models/", "/infer", "versions"
JSON = "application/json"
_LENGTH = HEADER_LENGTH.lower().encode()


class ShortInference:
    """ASGI application around another."""

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        """Take the whole application and its parts."""
        self._app = app
        self._parts = parts
        self._bounds = Bounds.of(parts.settings)
        self._limit = min(INLINE_BYTES, parts.settings.max_body_bytes)
        self._timeout_s = parts.settings.request_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith(_PREFIX):
            await self._app(scope, receive, send)
            return
        seen: list[Message] = []
        try:
            answer = await self._try(scope, receive, seen)
        # nothing has been sent yet, so the application can still say it in its own way
        except Exception:
            logger.exception("event=short_inference_failed path=%r", scope["path"])
            answer = None
        if answer is not None:
            await answer(scope, receive, send)
            return
        left = iter(seen)

        async def replayed() -> Message:
            message = next(left, None)
            return message if message is not None else await receive()

        await self._app(scope, replayed, send)

    async def _try(self, scope: Scope, receive: Receive, seen: list[Message]) -> ASGIApp | None:
        """Give what answers a request that a plan knows; `None` for any other. Keeps what it received in `seen`."""
        headers, loaded = usual(scope["headers"]), self._wanted(scope["path"])
        if headers is None or loaded is None or loaded.plan is None:
            return None
        length = headers.get(_LENGTH, b"")
        size = headers.get(b"content-length", b"")
        if not size.isdigit() or not 0 < int(size) <= self._limit or (length and not length.isdigit()):
            return None
        caller = self._parts.authority.check(headers.get(b"authorization"), Right.SCORE, loaded.model)
        admission = self._parts.admission
        if isinstance(caller, Refusal) or admission.full or not admission.enter():
            return None
        try:
            body = b""
            more = True
            while more:
                message = await receive()
                seen.append(message)
                if message["type"] != "http.request":
                    return None
                body += message.get("body", b"")
                more = message.get("more_body", False)
            encoding = accepted(headers.get(b"accept-encoding", b"").decode("latin-1"))
            id_ = request_id(headers.get(b"x-request-id", b"").decode("latin-1") or None)
            answer = await self._answer(loaded, loaded.plan, body, int(length) if length else None, encoding, id_)
        finally:
            admission.leave()
        if answer is None:
            return None
        return response(answer, id_, {**version_headers(loaded), REQUEST_ID: id_}, path=scope["path"])

    async def _answer(
        self, loaded: LoadedVersion, plan: Plan, body: bytes, length: int | None, encoding: str | None, id_: str
    ) -> Answer | None:
        began = time.perf_counter()
        try:
            request = read_request(body, length, self._bounds)
            self._bounds.check_rows(max(tensor.shape[0] for tensor in request.inputs))
        except (InvalidInputError, TooLargeError):
            return None
        # what is answered is logged, so that it can be written has to be known before
        outputs = loaded.metadata.get("outputs", ())
        name = outputs[0]["name"] if len(outputs) == 1 else "output-0"
        if any(output.name != name for output in request.outputs):
            return None
        written = request_of(request.inputs, plan.kinds)
        rows = None if written is None else plan.rows(written)
        if written is None or rows is None:
            return None
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        # the log's readers know MLflow's protocol
        one = Waiting(id_, written, JSON, rows, began, partial(to_future, future))
        note(len(rows), plan.engine)
        self._parts.batcher.submit(loaded, plan, one)
        try:
            answered = await asyncio.wait_for(future, self._timeout_s)
        except TimeoutError:
            one.late = True
            late = too_late(self._timeout_s)
            asked = ScoringRequest(id_, loaded.model, None, Asked("tensors", body, JSON))
            self._parts.scorer.count(asked, Scored(late, loaded), time.perf_counter() - began)
            return late
        if answered is None or one.predictions is None:
            return None
        return _written(loaded, request, tensor_of(name, one.predictions), encoding)

    def _wanted(self, path: str) -> LoadedVersion | None:
        if not path.endswith(_SUFFIX):
            return None
        named = path[len(_PREFIX) : -len(_SUFFIX)].split("/")
        pool = self._parts.pool
        if len(named) == 3 and named[1] == _VERSIONS and named[2].isascii() and named[2].isdigit():
            return pool.get(named[0], int(named[2]))
        champion = pool.serving(named[0]) if len(named) == 1 else None
        return champion.loaded if champion else None


def _written(loaded: LoadedVersion, request: InferRequest, output: Tensor, encoding: str | None) -> Answer:
    body, header_length = write_answer(request, loaded.model, loaded.version, [output])
    headers = {} if header_length is None else {HEADER_LENGTH: str(header_length)}
    body, used = compressed(body, encoding)
    if used is not None:
        headers["Content-Encoding"] = used
    return Answer(200, body, JSON if header_length is None else "application/octet-stream", None, headers)
