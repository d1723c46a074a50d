"""Every route of the application, asked by everybody: nobody, strangers, each right, and rights for another model."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Mount, compile_path
from starlette.types import Message, Receive, Scope, Send

from mlflow_ext.domain.tokens import Right
from serving.access import ROUTES, Access, find
from serving.app import create_app
from serving.authority import Authority
from tests.unit.serving.in_process import App, app, loaded
from tests.unit.serving.tokens import AHEAD, PAST, bearer, token

OPEN = None
EXPECTED: dict[str, tuple[str, Right | None]] = {
    # route: what it is about, and the right
    "POST /invocations": ("model", Right.SCORE),
    "POST /models/{name}/invocations": ("model", Right.SCORE),
    "POST /models/{name}/versions/{version}/invocations": ("model", Right.SCORE),
    "POST /models/{name}/feedback": ("model", Right.FEEDBACK),
    "POST /models/{name}/rollback": ("model", Right.PROMOTE),
    "GET /promotions": ("visible", Right.READ),
    "POST /promotions": ("visible", Right.PROMOTE),
    "GET /promotions/{promotion}": ("visible", Right.READ),
    "POST /promotions/{promotion}/approve": ("visible", Right.APPROVE),
    "POST /promotions/{promotion}/reject": ("visible", Right.APPROVE),
    "POST /promotions/{promotion}/abort": ("visible", Right.PROMOTE),
    "GET /models": ("visible", Right.READ),
    "GET /models/{name}": ("model", Right.READ),
    "GET /models/{name}/openapi.json": ("model", Right.READ),
    "GET /models/{name}/versions/{version}/openapi.json": ("model", Right.READ),
    "GET /models/{name}/docs": ("nothing", OPEN),
    "POST /v2/models/{name}/infer": ("model", Right.SCORE),
    "POST /v2/models/{name}/versions/{version}/infer": ("model", Right.SCORE),
    "GET /v2/models/{name}": ("model", Right.READ),
    "GET /v2/models/{name}/versions/{version}": ("model", Right.READ),
    "GET /v2/models/{name}/ready": ("model", Right.READ),
    "GET /v2/models/{name}/versions/{version}/ready": ("model", Right.READ),
    "POST /v2/repository/index": ("visible", Right.READ),
    "GET /v2": ("visible", Right.READ),
    "GET /v2/health/live": ("nothing", OPEN),
    "GET /v2/health/ready": ("nothing", OPEN),
    "GET /version": ("visible", Right.READ),
    "GET /metrics": ("service", Right.READ),
    **{
        f"GET {path}": ("nothing", OPEN) for path in ("/livez", "/readyz", "/ping", "/health", "/docs", "/openapi.json")
    },
    "HEAD /openapi.json": ("nothing", OPEN),
    "GET /docs/oauth2-redirect": ("nothing", OPEN),
    "GET /static-offline-docs/{path:path}": ("nothing", OPEN),
    "HEAD /static-offline-docs/{path:path}": ("nothing", OPEN),
}
"""Written down a second time on purpose: opening a route takes two people's attention."""


@dataclass
class Callers:
    """Who asks: the header each of them sends, and what they hold.

    Attributes:
        authority: Knows their tokens.
        strangers: Headers that are nobody's.
        holders: Header → rights and models.
    """

    authority: Authority
    strangers: dict[str, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    holders: dict[bytes, tuple[Right, set[str] | None]] = field(default_factory=dict)


def callers() -> Callers:
    """Make one of each."""
    tokens, made = [], Callers(Authority())
    for right in Right:
        for models in (None, {"sum"}, {"other"}):
            one, text = token(right, models=models, expires_at=AHEAD)
            tokens.append(one)
            made.holders[bearer(text)] = (right, models)
    good = next(iter(made.holders))
    expired, expired_text = token(Right.ADMIN, expires_at=PAST)
    revoked, revoked_text = token(Right.ADMIN, revoked_at=PAST)
    headers = {
        "none": [],
        "empty": [b""],
        "no token": [b"Bearer"],
        "other scheme": [b"Basic dXNlcjpwYXNz"],
        "no scheme": [good.removeprefix(b"Bearer ")],
        "cut": [good[:-1]],
        "twice": [good, good],
        "unknown": [bearer(token(Right.ADMIN)[1])],
        "wrong secret": [good[:-43] + b"A" * 43],
        "expired": [bearer(expired_text)],
        "revoked": [bearer(revoked_text)],
    }
    made.strangers = {name: [(b"Authorization", value) for value in values] for name, values in headers.items()}
    made.authority.renew([*tokens, expired, revoked])
    return made


CALLERS = callers()


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An application that asks for tokens, with two models of which `sum` is the default."""
    versions = loaded("sum", 1), loaded("other", 1)
    directory = tmp_path_factory.mktemp("access")
    with app(directory, *versions, authority=CALLERS.authority, default_model="sum") as running:
        yield running


def routes_of(running: App) -> set[str]:
    """List the application's routes, as FastAPI knows them."""
    found = set()
    for route in iter_route_contexts(create_app(running.parts).routes):
        if isinstance(route.original_route, Mount):
            found |= {f"{method} {route.path}/{{path:path}}" for method in ("GET", "HEAD")}
        else:
            found |= {f"{method} {route.path}" for method in route.methods or ("?",)}
    return found


def ask(running: App, route: str, headers: list[tuple[bytes, bytes]]) -> httpx.Response:
    """Ask one route about the model `sum`."""
    method, _, path = route.partition(" ")
    path = path.replace("{path:path}", "swagger-ui.css").format(name="sum", version="1", promotion="1")
    return running.client.request(method, path, headers=[*headers, (b"X-Request-Id", b"r-1")])


def test_every_route_has_its_line_in_the_table(scoring: App) -> None:
    """The application's routes, the table, and what is expected here are the same: nothing is open by oversight."""
    listed = {f"{method} {path}": needs.right for path, methods in ROUTES.items() for method, needs in methods.items()}
    assert routes_of(scoring) == set(listed)
    assert listed == {route: right for route, (_, right) in EXPECTED.items()}


@pytest.mark.parametrize("route", sorted(EXPECTED))
@pytest.mark.parametrize("who", sorted(CALLERS.strangers))
def test_strangers_are_answered_401(scoring: App, route: str, who: str) -> None:
    """Without a good token no route answers but the open ones, and the refusal says how to ask."""
    answer = ask(scoring, route, CALLERS.strangers[who])
    if EXPECTED[route][1] is OPEN:
        assert answer.status_code == 200
        return
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="mlflow-ext"')
    document = answer.json()
    assert set(document) == {"error_code", "error" if "/v2" in route else "message", "request_id"}
    assert (document["error_code"], document["request_id"]) == ("UNAUTHENTICATED", "r-1")


@pytest.mark.parametrize("route", sorted(EXPECTED))
def test_each_right_opens_its_routes_and_no_others(scoring: App, route: str) -> None:
    """Each right, for all models, for the one asked about, and for another."""
    about, needed = EXPECTED[route]
    for header, (right, models) in CALLERS.holders.items():
        answer = ask(scoring, route, [(b"Authorization", header)])
        has_right = needed is OPEN or right in {needed, Right.ADMIN}
        has_model = {"nothing": True, "visible": True, "service": models is None, "model": models in (None, {"sum"})}
        if has_right and has_model[about]:
            # reached: whatever it says now, it is the route that says it
            assert answer.status_code not in {401, 403}, (right, models, answer.text)
            continue
        assert answer.status_code == 403, (right, models, answer.text)
        document = answer.json()
        assert (document["error_code"], document["request_id"]) == ("PERMISSION_DENIED", "r-1")
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


def test_a_refused_request_reaches_nothing(scoring: App) -> None:
    """Refusals write no prediction and count as refusals, by their reason."""
    before = len(scoring.records())
    for headers in CALLERS.strangers.values():
        ask(scoring, "POST /models/{name}/invocations", headers)
    assert len(scoring.records()) == before
    reader = next(h for h, held in CALLERS.holders.items() if held == (Right.READ, None))
    text = ask(scoring, "GET /metrics", [(b"Authorization", reader)]).text
    for reason in ("missing", "malformed", "unknown", "expired", "revoked"):
        assert f'mlflow_ext_refused_total{{reason="{reason}"}}' in text


@pytest.mark.parametrize(
    "path", ["/nowhere", "/models/sum/nowhere", "/models/", "/livez/", "/livez%0A", "//models", "/"]
)
def test_what_is_not_in_the_table_is_not_there(scoring: App, path: str) -> None:
    """A stranger learns nothing of which routes exist; who shows any good token is told that there is none."""
    assert scoring.client.get(path).status_code == 401
    for header in CALLERS.holders:
        answer = scoring.client.get(path, headers=[(b"Authorization", header)])
        assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get"])
def test_a_method_that_is_not_in_the_table_is_refused(scoring: App, method: str) -> None:
    """The same for methods; the answer names those there are."""
    assert scoring.client.request(method, "/invocations").status_code == 401
    holder = next(iter(CALLERS.holders))
    answer = scoring.client.request(method, "/invocations", headers=[(b"Authorization", holder)])
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_a_limited_token_sees_its_own_models_only(scoring: App) -> None:
    """The list of models leaves out what the caller may not see."""
    for header, (right, models) in CALLERS.holders.items():
        if right is Right.READ:
            answer = ask(scoring, "GET /models", [(b"Authorization", header)])
            assert {model["name"] for model in answer.json()["models"]} == (models or {"sum", "other"})
            index = ask(scoring, "POST /v2/repository/index", [(b"Authorization", header)])
            assert {model["name"] for model in index.json()} == (models or {"sum", "other"})


def test_a_route_that_was_forgotten_is_closed_to_all(scoring: App) -> None:
    """A route without a line in the table cannot be reached, not even by `admin`, nor without authentication."""
    reached: list[Scope] = []
    statuses: list[int] = []

    async def forgotten(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope)

    async def nothing() -> Message:
        return {"type": "http.request"}

    async def note(message: Message) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    for authority in (CALLERS.authority, Authority(open_to_all=True)):
        access = Access(forgotten, authority, None, scoring.parts.metrics)
        for header in CALLERS.holders:
            headers = [(b"authorization", header)]
            scope: Scope = {"type": "http", "path": "/forgotten", "method": "GET", "headers": headers}
            asyncio.run(access({**scope, "state": {"request_id": "r"}}, nothing, note))
    assert (reached, set(statuses)) == ([], {404})


def test_nobody_gets_a_websocket_and_start_and_stop_pass(scoring: App) -> None:
    """What is no HTTP request is closed at once, but for the server's own words with the application."""
    passed: list[Scope] = []
    sent: list[Message] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope)

    async def nothing() -> Message:
        return {"type": "websocket.connect"}

    async def note(message: Message) -> None:
        sent.append(message)

    access = Access(inner, Authority(open_to_all=True), None, scoring.parts.metrics)
    asyncio.run(access({"type": "websocket", "path": "/livez", "headers": []}, nothing, note))
    assert (passed, sent) == ([], [{"type": "websocket.close", "code": 1008}])
    asyncio.run(access({"type": "lifespan"}, nothing, note))
    assert passed == [{"type": "lifespan"}]


WORDS = (
    "v2",
    "openapi.json",
    "ready",
    "infer",
    "models",
    "invocations",
    "versions",
    "1",
    "feedback",
    "docs",
    "sum",
    "promotions",
    "approve",
)
PARTS = ("/", *WORDS, "\n", "é", "..", "%2F", "")


@given(joint=st.sampled_from(["", "/"]), parts=st.lists(st.sampled_from(PARTS), max_size=7))
def test_the_table_and_the_router_agree_on_every_path(scoring: App, joint: str, parts: list[str]) -> None:
    """Where a route of the application would answer, the table has the same route about the same model, or nothing."""
    path = "/" + joint.join(parts)
    methods, parameters = find(path)
    if methods is None:
        return
    for route in iter_route_contexts(create_app(scoring.parts).routes):
        template = f"{route.path}/{{path:path}}" if isinstance(route.original_route, Mount) else str(route.path)
        if match := compile_path(template)[0].match(path):
            assert methods is ROUTES[template]
            assert match.groupdict() == parameters
            return
    pytest.fail(f"the table has {path!r}, and the application has not")


def test_the_description_names_the_right(scoring: App) -> None:
    """`/openapi.json` says which right each route needs, and how to show a token."""
    document = scoring.client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    for route, (_, right) in EXPECTED.items():
        method, _, path = route.partition(" ")
        operation = document["paths"].get(path, {}).get(method.lower())
        if operation is not None:
            assert operation.get("x-right") == (right.value if right else None)
            assert ("security" in operation) == (right is not None)
