"""Slow and greedy clients over real connections: each is cut off in time, and nobody else notices."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.unit.serving.in_process import App, app, loaded, sums
from tests.unit.serving.wire import connect, exchange, post, receive

JSON = "Content-Type: application/json"
GOOD = b'{"instances": [[1, 2], [3, 4]]}'
REQUEST = post("/models/sum/invocations", GOOD, JSON)
DEADLINE_S = 0.4


@pytest.fixture
def scoring(tmp_path: Path) -> Iterator[App]:
    """An application that does not wait long."""
    with app(
        *(tmp_path, loaded("sum", 1), loaded("slow", 1, slow)),
        header_timeout_s=DEADLINE_S,
        body_timeout_s=DEADLINE_S,
        max_body_bytes=100_000,
    ) as running:
        yield running


def slow(data: Any) -> Any:
    """Add up each row, later than any deadline of the network."""
    time.sleep(3 * DEADLINE_S)
    return sums(data)


def turned_away(scoring: App, reason: str) -> float:
    """Read how many were turned away for a reason."""
    line = f'mlflow_ext_turned_away_requests_total{{reason="{reason}"}} '
    return sum(float(one.rpartition(" ")[2]) for one in scoring.client.get("/metrics").text.splitlines() if line in one)


def closed_within(connection: socket.socket, seconds: float) -> bool:
    """Tell whether the other side ends the connection in time."""
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"P", "header_timeout"),
        (REQUEST[:30], "header_timeout"),
        (REQUEST[:-1], "body_timeout"),
        (post("/models/sum/invocations", b"5\r\nab", JSON, "Transfer-Encoding: chunked", length=False), "body_timeout"),
        (post("/v2/models/sum/infer", GOOD, "X-Request-Id: mine")[:-5], "body_timeout"),
    ],
)
def test_who_is_too_slow_is_told_and_cut_off(scoring: App, sent: bytes, reason: str) -> None:
    """Headers or body that do not arrive in time end in 408 and the end of the connection."""
    with connect(scoring) as connection:
        began = time.monotonic()
        connection.sendall(sent)
        reply = receive(connection)
        took_s = time.monotonic() - began
        assert closed_within(connection, 5)
    error = reply.error()
    assert (reply.status, error["error_code"]) == (408, "REQUEST_TIMEOUT")
    assert DEADLINE_S * 0.9 <= took_s < 5
    if b"/v2/" in sent:
        assert (error["request_id"], "body_timeout_s" in error["error"]) == ("mine", True)
    assert turned_away(scoring, reason) == 1
    assert scoring.parts.admission.inside == 0


def test_a_drip_does_not_move_the_deadline(scoring: App) -> None:
    """Sending a byte now and then does not keep a connection."""
    with connect(scoring) as connection:
        began = time.monotonic()
        reply = None
        for byte in REQUEST[:60]:
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                break
            connection.settimeout(0.05)
            try:
                if connection.recv(1, socket.MSG_PEEK):
                    connection.settimeout(5)
                    reply = receive(connection)
                    break
            except TimeoutError:
                continue
    assert reply is not None
    assert reply.status == 408
    assert time.monotonic() - began < 2


def test_silent_connections_are_closed(scoring: App) -> None:
    """Connections that never say anything end without a word, however many, while others are served."""
    silent = [connect(scoring) for _ in range(100)]
    assert exchange(scoring, REQUEST).status == 200
    for connection in silent:
        with connection:
            assert closed_within(connection, 5)


def test_idle_between_requests_is_allowed(scoring: App) -> None:
    """A kept connection may rest longer than the deadline; its next request has its own."""
    with connect(scoring) as connection:
        connection.sendall(REQUEST)
        assert receive(connection).status == 200
        assert not closed_within(connection, 2 * DEADLINE_S)
        connection.settimeout(5)
        connection.sendall(REQUEST)
        assert receive(connection).status == 200
        connection.sendall(REQUEST[:20])
        assert receive(connection).status == 408


def test_a_slow_model_is_not_a_slow_client(scoring: App) -> None:
    """The deadlines end with the last byte of the request: answers may take longer, pipelined ones too."""
    request = post("/models/slow/invocations", GOOD, JSON)
    with connect(scoring) as connection:
        connection.sendall(request + request + REQUEST[:20])
        assert receive(connection).status == 200
        assert receive(connection).status == 200
        connection.sendall(REQUEST[20:])
        assert receive(connection).status == 200


def test_a_body_after_its_refusal(scoring: App) -> None:
    """Who goes on sending a body that was refused is cut off at the deadline."""
    with connect(scoring) as connection:
        connection.sendall(post("/models/sum/invocations", b"", JSON, "Content-Length: 200000", length=False))
        assert receive(connection).status == 413
        assert closed_within(connection, 5)
    assert exchange(scoring, REQUEST).status == 200


def long_answer(data: Any) -> Any:
    """Answer at length."""
    return ["x" * 1000] * 20_000


@pytest.mark.parametrize("close", [True, False])
def test_who_does_not_take_the_answer(tmp_path: Path, close: bool) -> None:
    """An answer that nobody reads is given up, whether the connection would be kept or not; a slow reader gets it."""
    request = post("/models/long/invocations", GOOD, JSON, *(["Connection: close"] if close else []))
    patience_s = 1.5
    with app(tmp_path, loaded("long", 1, long_answer), body_timeout_s=patience_s) as scoring:
        with connect(scoring) as connection:
            connection.sendall(request)
            wait_until(lambda: turned_away(scoring, "unread_answer") == 1, 20)
        with connect(scoring) as connection:
            connection.sendall(request)
            taken = b""
            # longer than the wait, and less than what makes the kernel ask us for more
            for _ in range(16):
                time.sleep(patience_s / 6)
                taken += connection.recv(100_000)
            while not taken.endswith(b"]}") and (more := connection.recv(4_000_000)):
                taken += more
        assert len(taken) > 20_000_000
        assert turned_away(scoring, "unread_answer") == 1


def test_a_client_that_goes_away(scoring: App, caplog: pytest.LogCaptureFixture) -> None:
    """A connection that ends within its body leaves no place taken and no error in the log."""
    for _ in range(5):
        with connect(scoring) as connection:
            connection.sendall(REQUEST[:-5])
    wait_until(lambda: scoring.parts.admission.inside == 0, 5)
    assert exchange(scoring, REQUEST).status == 200
    assert [record for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}] == []


def test_a_full_house(tmp_path: Path) -> None:
    """Beyond what is computed and what may wait, one more is 503 at once; later there is room again."""
    release = threading.Event()

    def held(data: Any) -> Any:
        release.wait(20)
        return sums(data)

    with (
        app(tmp_path, loaded("held", 1, held), scoring_threads=1, max_queued_requests=2) as scoring,
        ExitStack() as stack,
    ):
        stack.callback(release.set)
        path = "/models/held/invocations"
        waiting = [connect(scoring) for _ in range(3)]
        for connection in waiting[:2]:
            connection.sendall(post(path, GOOD, JSON))
        # a body that is still on its way takes a place as well
        waiting[2].sendall(post(path, GOOD, JSON)[:-5])
        wait_until(lambda: scoring.parts.admission.inside == 3, 5)
        for busy in (path, "/v2/models/held/infer"):
            reply = exchange(scoring, post(busy, GOOD, JSON))
            assert (reply.status, reply.error()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
            assert reply.headers["retry-after"] == "1"
        assert scoring.client.get("/readyz").status_code == 200
        assert turned_away(scoring, "busy") == 2
        waiting[2].sendall(GOOD[-5:])
        release.set()
        for connection in waiting:
            with connection:
                assert receive(connection).status == 200
        assert scoring.parts.admission.inside == 0
        assert exchange(scoring, post(path, GOOD, JSON)).status == 200
