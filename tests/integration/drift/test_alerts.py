"""Alerts reach a real HTTP receiver, once, also when it fails first."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, insert, text

from drift.alerts import AlertSender, deliver_all
from mlflow_ext.store.alerts import Alerts
from mlflow_ext.store.tables import alert
from tests.conftest import free_port


class Receiver:
    """A webhook that refuses the first so many requests."""

    def __init__(self) -> None:
        self.refuse = 0
        self.taken: list[dict[str, Any]] = []
        self.keys: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.keys.append(self.headers["Idempotency-Key"])
                refused = len(receiver.keys) <= receiver.refuse
                self.send_response(503 if refused else 200)
                self.end_headers()
                if not refused:
                    receiver.taken.append(json.loads(body))

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A local webhook."""
    one = Receiver()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """An HTTP client."""
    with httpx.Client() as one:
        yield one


def raise_alert(engine: Engine, message: str = "m drifted") -> None:
    """Put an alert into the outbox."""
    with engine.begin() as connection:
        connection.execute(
            insert(alert).values(
                model="m", version=3, severity="warning", message=message, details={"verdict": "drift"}
            )
        )


def test_an_alert_is_posted_once_with_its_report(engine: Engine, receiver: Receiver, client: httpx.Client) -> None:
    """JSON with model, version, message and report; a second look finds nothing to send."""
    raise_alert(engine)
    for _ in range(3):
        deliver_all(Alerts(engine), AlertSender(client, receiver.url))
    [taken] = receiver.taken
    assert taken["model"] == "m"
    assert taken["version"] == 3
    assert taken["message"] == "m drifted"
    assert taken["report"] == {"verdict": "drift"}


def test_a_receiver_that_fails_first_gets_it_in_the_end(
    engine: Engine, receiver: Receiver, client: httpx.Client
) -> None:
    """Tried at once, then from the outbox, always under the same key; taken once."""
    receiver.refuse = 4
    raise_alert(engine)
    sender, alerts = AlertSender(client, receiver.url), Alerts(engine)
    assert deliver_all(alerts, sender) == 1
    assert receiver.taken == []
    assert deliver_all(alerts, sender) == 0, "the outbox waits before it tries again"
    with engine.begin() as connection:
        kept = connection.execute(text("SELECT last_error FROM mlflow_ext.alert")).scalar()
        connection.execute(text("UPDATE mlflow_ext.alert SET next_attempt_at = clock_timestamp()"))
    assert "503" in str(kept)
    assert deliver_all(alerts, sender) == 1
    assert len(receiver.taken) == 1
    assert len(set(receiver.keys)) == 1
    assert len(receiver.keys) == 5


def test_a_dead_receiver_holds_up_no_other_alert(engine: Engine, client: httpx.Client) -> None:
    """Each waits on its own."""
    for number in range(2):
        raise_alert(engine, f"alert {number}")
    assert deliver_all(Alerts(engine), AlertSender(client, f"http://127.0.0.1:{free_port()}")) == 2


def test_without_a_webhook_the_log_line_is_the_delivery(
    engine: Engine, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, with ids."""
    raise_alert(engine)
    for _ in range(2):
        deliver_all(Alerts(engine), AlertSender(client, None))
    lines = [line.getMessage() for line in caplog.records if line.name == "drift.alerts"]
    assert len(lines) == 1
    assert "model=m version=3" in lines[0]


def test_two_schedulers_send_each_alert_once(engine: Engine, receiver: Receiver, client: httpx.Client) -> None:
    """Whoever holds the row sends it; the other passes it by."""
    for number in range(20):
        raise_alert(engine, f"alert {number}")
    sender = AlertSender(client, receiver.url)
    threads = [threading.Thread(target=deliver_all, args=(Alerts(engine), sender)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken["message"] for taken in receiver.taken) == sorted(f"alert {number}" for number in range(20))
