"""Between HTTP and answers: bodies with a bound, errors in one shape, a request id on everything."""

import asyncio
import logging
from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlflow_ext.errors import MlflowExtError
from serving.admission import RETRY_AFTER_S as RETRY_ADMISSION_S
from serving.admission import Admission
from serving.codecs.answer import Answer, error, error_body
from serving.compression import decompress
from serving.openinference import http_form
from serving.parts import Parts
from serving.refusals import CODES, RETRY_AFTER_S, refusal
from serving.request_id import request_id

logger = logging.getLogger(__name__)

REQUEST_ID = "X-Request-Id"
SCORING = ("/invocations", "/infer")
"""How the paths of scoring requests end."""


class RequestIds:
    """ASGI middleware: each request gets its id, each answer carries it, and nothing unexpected leaves as a trace."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        id_ = request_id(Headers(scope=scope).get(REQUEST_ID))
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = id_
        begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message)[REQUEST_ID] = id_
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            logger.info("event=client_gone request_id=%s path=%r", id_, scope["path"])
        # the last resort: whatever went wrong is logged with the id, and the client gets the id and no details
        except Exception:
            logger.exception("event=request_failed request_id=%s path=%r", id_, scope["path"])
            if begun:
                raise
            failed = error(500, "INTERNAL_ERROR", "The request failed unexpectedly; its id is in the service's log.")
            await response(failed, id_, path=scope["path"])(scope, receive, send_with_id)


class Admitted:
    """ASGI middleware: scoring requests pass through the `Admission`, or are sent away; others pass by."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        """Wrap an application."""
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith(SCORING):
            await self._app(scope, receive, send)
            return
        if not self._admission.enter():
            busy = error(
                *(503, "TEMPORARILY_UNAVAILABLE"),
                f"{self._admission.limit} requests are being answered or wait (settings scoring_threads, "
                "max_queued_requests): try again soon.",
            )
            headers = {"Retry-After": str(RETRY_ADMISSION_S)}
            await response(busy, scope["state"]["request_id"], headers, path=scope["path"])(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._admission.leave()


def id_of(request: Request) -> str:
    """Give the request's id."""
    id_: str = request.state.request_id
    return id_


def response(answer: Answer, id_: str, headers: Mapping[str, str] | None = None, *, path: str = "/") -> Response:
    """Turn an answer into HTTP; an error in the form of the protocol that the path belongs to."""
    headers = {**answer.headers, **(headers or {})}
    if answer.status == 503:
        headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    body = answer.body if answer.error is None else error_writer(path)(answer.error, id_)
    return Response(body, answer.status, headers, answer.media_type)


def error_writer(path: str) -> Callable[[dict[str, Any], str], bytes]:
    """Give the form that errors have under a path."""
    return http_form.error_body if path == "/v2" or path.startswith("/v2/") else error_body


async def read_body(request: Request, parts: Parts) -> bytes:
    """Read a request's body and take its content encoding off, within the bounds of the settings.

    Raises:
        HTTPException: 413 for a larger one, as soon as that is known.
        UnknownEncodingError: Its content encoding is not known here.
        TooLargeError: It is too large once decompressed.
        InvalidInputError: It is not what its content encoding says.
    """
    limit = parts.settings.max_body_bytes
    refused = HTTPException(413, f"The request's body is larger than {limit} bytes (setting max_body_bytes).")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise refused
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise refused
        chunks.append(chunk)
    body = b"".join(chunks)
    encoding = request.headers.get("content-encoding")
    if encoding is None:
        return body
    work = partial(decompress, body, encoding, parts.settings.max_decompressed_bytes)
    return await asyncio.get_running_loop().run_in_executor(parts.threads, work)


def handle_errors(app: FastAPI) -> None:
    """Give every error the one shape: `error_code`, `message`, `request_id`."""

    @app.exception_handler(MlflowExtError)
    async def ours(request: Request, exc: MlflowExtError) -> Response:
        return response(refusal(exc), id_of(request), path=request.url.path)

    @app.exception_handler(HTTPException)
    async def http(request: Request, exc: HTTPException) -> Response:
        answer = error(exc.status_code, CODES.get(exc.status_code, "BAD_REQUEST"), str(exc.detail))
        return response(answer, id_of(request), exc.headers, path=request.url.path)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, exc: RequestValidationError) -> Response:
        mistakes = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in exc.errors())
        return response(error(400, "INVALID_PARAMETER_VALUE", mistakes), id_of(request), path=request.url.path)
