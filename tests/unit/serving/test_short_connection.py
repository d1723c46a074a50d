"""Small requests that a plan answers without ASGI: what may lie around them on a connection."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.conftest import wait_until
from tests.unit.serving.in_process import App, app, loaded
from tests.unit.serving.test_hot_path import BODY, plan
from tests.unit.serving.wire import Reply, connect, exchange, post

JSON = "Content-Type: application/json"
PATH = "/models/sum/invocations"
SHORT = post(PATH, BODY, JSON)
ANSWER = b'{"predictions": [2.0,4.0]}'
OTHERS = {
    "another body": (post(PATH, b'{"inputs": [[1.0, 2.0]]}', JSON), b'{"predictions": [3.0]}'),
    "a plan that fails": (post(PATH, b'{"rows": [[13.0]]}', JSON), b""),
    "chunked": (
        post(PATH, b"18\r\n" + BODY + b"\r\n0\r\n\r\n", JSON, "Transfer-Encoding: chunked", length=False),
        ANSWER,
    ),
    "another route": (b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n", b""),
}


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An application with planned models, one of them with a name that has to be encoded."""
    versions = [replace(loaded(name, 1), plan=plan()) for name in ("sum", "a b", "a%20b")]
    directory = tmp_path_factory.mktemp("short")
    with app(directory, *versions, header_timeout_s=2, body_timeout_s=0.4) as running:
        yield running


def replies_to(scoring: App, data: bytes) -> list[Reply]:
    """Send requests, the last of which ends the connection, and give all answers."""
    with connect(scoring) as connection:
        connection.sendall(data)
        left = b"".join(iter(lambda: connection.recv(65536), b""))
    replies = []
    while left:
        head, _, left = left.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers["content-length"])
        replies.append(Reply(int(status.split()[1]), headers, left[:length]))
        left = left[length:]
    return replies


@pytest.mark.parametrize("other", sorted(OTHERS))
def test_pipelined_requests_are_answered_in_order(scoring: App, other: str) -> None:
    """Requests sent without waiting, of whatever way, come back one after the other."""
    request, expected = OTHERS[other]
    last = SHORT.replace(b"Host: x", b"Host: x\r\nConnection: close")
    replies = replies_to(scoring, SHORT + request + SHORT + SHORT + request + last)
    assert len(replies) == 6
    for place in (0, 2, 3, 5):
        assert replies[place].body == ANSWER
    for place in (1, 4):
        assert replies[place].body == expected or not expected
    assert replies[1].status == replies[4].status
    assert len({reply.headers["x-request-id"] for reply in replies}) == 6
    assert scoring.parts.admission.inside == 0


def test_an_answer_has_what_the_web_server_adds(scoring: App) -> None:
    """The date is there, and the connection stays open."""
    reply = exchange(scoring, SHORT)
    assert "date" in reply.headers
    assert "connection" not in reply.headers
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize("pieces", [[SHORT[:20], SHORT[20:90], SHORT[90:-3], SHORT[-3:]], [SHORT[:-24], SHORT[-24:]]])
def test_a_request_in_pieces(scoring: App, pieces: list[bytes]) -> None:
    """However the network cuts a request, it is answered as one."""
    assert exchange(scoring, *pieces).body == ANSWER


def test_a_body_that_does_not_come(scoring: App) -> None:
    """A slow body is 408 with the client's request id, and its place is free again."""
    [reply] = replies_to(scoring, post(PATH, BODY, JSON, "X-Request-Id: mine")[:-1])
    assert (reply.status, reply.error()["request_id"]) == (408, "mine")
    wait_until(lambda: scoring.parts.admission.inside == 0, 5)


def test_a_client_that_goes_away(scoring: App) -> None:
    """Its place is free again, whether its body was complete or not."""
    for data in (SHORT[:-1], SHORT, SHORT + SHORT[:-1]):
        with connect(scoring) as connection:
            connection.sendall(data)
        wait_until(lambda: scoring.parts.admission.inside == 0, 5)
    assert exchange(scoring, SHORT).body == ANSWER


@pytest.mark.parametrize("change", [(b"HTTP/1.1", b"HTTP/1.0"), (b"Host: x", b"Host: x\r\nConnection: close")])
def test_connections_that_are_to_end(scoring: App, change: tuple[bytes, bytes]) -> None:
    """HTTP/1.0 and `Connection: close` are answered and the connection is ended."""
    assert [reply.body for reply in replies_to(scoring, SHORT.replace(*change))] == [ANSWER]


@pytest.mark.parametrize(
    ("path", "model"),
    [("/models/a%20b/invocations", "a b"), ("/models/a%2520b/invocations", "a%2520b"), (f"{PATH}?x=1", "sum")],
)
def test_addresses_are_read_as_the_application_reads_them(scoring: App, path: str, model: str) -> None:
    """An encoded name is decoded before a model is looked up, and a query is no part of it."""
    reply = exchange(scoring, post(path, BODY, JSON))
    assert (reply.status, reply.headers["x-model-name"]) == (200, model)


def test_who_finds_no_room(scoring: App) -> None:
    """A process that is full says so, and when to come again."""
    admission = scoring.parts.admission
    admission.inside = admission.limit
    try:
        reply = exchange(scoring, SHORT)
    finally:
        admission.inside = 0
    assert (reply.status, reply.error()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
