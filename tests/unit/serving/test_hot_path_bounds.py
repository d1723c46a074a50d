"""The short way keeps the application's bounds: what is too much goes there, to be refused there."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from serving.plan import Plan
from tests.conftest import wait_until
from tests.unit.serving.in_process import app, loaded
from tests.unit.serving.wire import connect, exchange, post, receive

PATH, JSON = "/models/sum/invocations", "Content-Type: application/json"


class Reading(Plan):
    """A plan that knows `instances`."""

    def rows(self, body: bytes) -> Any:
        """Read rows."""
        return json.loads(body)["instances"]


def instances(rows: int) -> bytes:
    """Write a body."""
    return json.dumps({"instances": [[1.0, 2.0]] * rows}).encode()


def test_too_many_rows(tmp_path: Path) -> None:
    """A request with more rows than allowed is 413, though a plan could answer it."""
    asked: list[int] = []

    def compute(rows: Any) -> Any:
        asked.append(len(rows))
        return np.ones(len(rows))

    version = replace(
        loaded("sum", 1), plan=Reading(("a", "b"), compute, True, "kernel", True, True, json.loads, tuple)
    )
    with app(tmp_path, version, max_rows=3) as scoring:
        assert exchange(scoring, post(PATH, instances(3), JSON)).body == b'{"predictions": [1.0,1.0,1.0]}'
        reply = exchange(scoring, post(PATH, instances(4), JSON))
    assert (reply.status, reply.error()["error_code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert asked == [3]


def test_a_full_house(tmp_path: Path) -> None:
    """Requests on the short way take places as all others do; one that changes over to the application takes one."""
    release = threading.Event()

    def held(rows: Any) -> Any:
        release.wait(20)
        return np.ones(len(rows))

    version = replace(loaded("sum", 1), plan=Reading(("a", "b"), held, True, "python", False, True, json.loads, tuple))
    with app(tmp_path, version, scoring_threads=1, max_queued_requests=1) as scoring:
        waiting = [connect(scoring) for _ in range(2)]
        try:
            for connection in waiting:
                connection.sendall(post(PATH, instances(1), JSON))
            wait_until(lambda: scoring.parts.admission.inside == 2, 5)
            reply = exchange(scoring, post(PATH, instances(1), JSON))
            assert (reply.status, reply.error()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        finally:
            release.set()
        for connection in waiting:
            with connection:
                assert receive(connection).status == 200
        assert scoring.parts.admission.inside == 0
        # what no plan knows changes over: the only place left is enough for it
        scoring.parts.admission.limit = 1
        assert exchange(scoring, post(PATH, b'{"instances": null}', JSON)).status == 400
        assert scoring.parts.admission.inside == 0
