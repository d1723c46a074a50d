"""The one table of routes and rights, and the ASGI middleware that holds every request against it.

What is not in the table is never reached: a new route needs its line here. How a token is judged: `authority.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from re import Pattern
from typing import Any, Final

from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from mlflow_ext.domain.tokens import Right
from serving.authority import Authority, Caller, Refusal, authorization_of
from serving.codecs.answer import Answer, error
from serving.metrics import Metrics
from serving.refusals import CODES
from serving.web import response

SERVICE: Final = "the service as a whole"
DEFAULT: Final = "the default model"
VISIBLE: Final = "the models that the caller sees"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a route asks of its callers.

    Attributes:
        right: The right; `None` means that anyone may ask.
        of: About what: the path's parameter that holds a model's name, `DEFAULT`, `SERVICE`, or `VISIBLE` for a route
            that leaves out of its answer what the caller may not see.
    """

    right: Right | None
    of: str = SERVICE


_OPEN = Needs(None)
_SCORE = Needs(Right.SCORE, "name")
_READ = Needs(Right.READ, "name")

ROUTES: Mapping[str, Mapping[str, Needs]] = {
    "/invocations": {"POST": Needs(Right.SCORE, DEFAULT)},
    "/models/{name}/invocations": {"POST": _SCORE},
    "/models/{name}/versions/{version}/invocations": {"POST": _SCORE},
    "/models/{name}/feedback": {"POST": Needs(Right.FEEDBACK, "name")},
    "/models/{name}/rollback": {"POST": Needs(Right.PROMOTE, "name")},
    # about which model, the promotion or the body says: the route leaves out what the caller may not see
    "/promotions": {"GET": Needs(Right.READ, VISIBLE), "POST": Needs(Right.PROMOTE, VISIBLE)},
    "/promotions/{promotion}": {"GET": Needs(Right.READ, VISIBLE)},
    "/promotions/{promotion}/approve": {"POST": Needs(Right.APPROVE, VISIBLE)},
    "/promotions/{promotion}/reject": {"POST": Needs(Right.APPROVE, VISIBLE)},
    "/promotions/{promotion}/abort": {"POST": Needs(Right.PROMOTE, VISIBLE)},
    "/models": {"GET": Needs(Right.READ, VISIBLE)},
    "/models/{name}": {"GET": _READ},
    "/models/{name}/openapi.json": {"GET": _READ},
    "/models/{name}/versions/{version}/openapi.json": {"GET": _READ},
    "/v2/models/{name}/infer": {"POST": _SCORE},
    "/v2/models/{name}/versions/{version}/infer": {"POST": _SCORE},
    "/v2/models/{name}": {"GET": _READ},
    "/v2/models/{name}/versions/{version}": {"GET": _READ},
    "/v2/models/{name}/ready": {"GET": _READ},
    "/v2/models/{name}/versions/{version}/ready": {"GET": _READ},
    "/v2/repository/index": {"POST": Needs(Right.READ, VISIBLE)},
    # probes: what asks them holds no secrets, and they tell nothing but yes or no
    "/livez": {"GET": _OPEN},
    "/readyz": {"GET": _OPEN},
    "/ping": {"GET": _OPEN},
    "/health": {"GET": _OPEN},
    "/v2/health/live": {"GET": _OPEN},
    "/v2/health/ready": {"GET": _OPEN},
    # tell which release runs here, and so its known holes
    "/version": {"GET": Needs(Right.READ, VISIBLE)},
    "/v2": {"GET": Needs(Right.READ, VISIBLE)},
    # names of models, traffic, failures; Prometheus can send a token (`authorization: {credentials_file: …}`)
    "/metrics": {"GET": Needs(Right.READ)},
    # the same for every installation, without a word about its models; browsers cannot send a token with a page
    "/docs": {"GET": _OPEN},
    "/models/{name}/docs": {"GET": _OPEN},
    "/docs/oauth2-redirect": {"GET": _OPEN},
    "/openapi.json": {"GET": _OPEN, "HEAD": _OPEN},
    "/static-offline-docs/{path:path}": {"GET": _OPEN, "HEAD": _OPEN},
}
"""Path as FastAPI writes it → method → what is needed."""

_EXACT = {path: methods for path, methods in ROUTES.items() if "{" not in path}
_PATTERNS: list[tuple[Pattern[str], Mapping[str, Needs]]] = [
    (compile_path(path)[0], methods) for path, methods in ROUTES.items() if "{" in path
]


def find(path: str) -> tuple[Mapping[str, Needs] | None, dict[str, str]]:
    """Find a path's methods, and its parameters; `None` for a path that is not in the table."""
    if (methods := _EXACT.get(path)) is not None:
        return methods, {}
    for pattern, methods in _PATTERNS:
        if match := pattern.fullmatch(path):
            return methods, match.groupdict()
    return None, {}


class Access:
    """ASGI middleware: lets a request through to its route, or refuses it; the caller goes into the request's state."""

    def __init__(self, app: ASGIApp, authority: Authority, default_model: str | None, metrics: Metrics) -> None:
        """Wrap an application; `/invocations` is about `default_model`."""
        self._app = app
        self._authority = authority
        self._default_model = default_model
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; there are no WebSockets here, so nobody gets one."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        methods, parameters = find(scope["path"])
        needs = methods.get(scope["method"]) if methods else None
        found = self._judge(authorization_of(scope), needs, parameters)
        if isinstance(found, Refusal):
            self._metrics.refused.labels(found.reason).inc()
            await _refuse(found, scope, receive, send)
        elif needs is None:
            await _absent(methods, scope, receive, send)
        else:
            scope.setdefault("state", {})["caller"] = found
            await self._app(scope, receive, send)

    def _judge(
        self, header: bytes | None, needs: Needs | None, parameters: Mapping[str, str]
    ) -> Caller | Refusal | None:
        if needs is None:
            # strangers are not told what there is
            return self._authority.identify(header)
        if needs.right is None:
            return None
        if needs.of == VISIBLE:
            return self._authority.allow(header, needs.right)
        model = {SERVICE: None, DEFAULT: self._default_model}.get(needs.of, parameters.get(needs.of))
        return self._authority.check(header, needs.right, model)


async def _refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"WWW-Authenticate": refusal.challenge} if refusal.challenge else {}
    await _answer(error(refusal.status, refusal.code, refusal.message), headers, scope, receive, send)


async def _absent(methods: Mapping[str, Any] | None, scope: Scope, receive: Receive, send: Send) -> None:
    """Say, as FastAPI would, that there is no such route, or not with this method."""
    status = HTTPStatus.METHOD_NOT_ALLOWED if methods else HTTPStatus.NOT_FOUND
    headers = {"Allow": ", ".join(methods)} if methods else {}
    await _answer(error(status, CODES[status], status.phrase), headers, scope, receive, send)


async def _answer(answer: Answer, headers: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
    written = response(answer, scope["state"]["request_id"], headers, path=scope["path"])
    await written(scope, receive, send)
