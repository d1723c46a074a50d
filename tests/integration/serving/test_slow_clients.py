"""Slow clients of the real service: they are cut off in time, and those beside them notice nothing."""

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit

import httpx

from mlflow_ext.domain.stages import Stage
from mlflow_ext.registry.client import MlflowRegistry
from tests.integration.registered import BODY, register
from tests.integration.serving.service import Service

HALVES = (b"", b"POST /models/x/invocations HTTP/1.1\r\nHost:", b"GET /ping")
WAIT_S = 25
"""Longer than the default deadline of headers (10 s), with room for a busy machine."""


def test_half_open_connections(serving: Service, mlflow_url: str, registry: MlflowRegistry) -> None:
    """300 connections that never finish their headers are all closed by the deadline; no other request fails."""
    name = "beside slow clients"
    register(mlflow_url, name)
    registry.set_stage(name, 1, Stage.PRODUCTION)
    serving.wait_served(name, 1)
    address = urlsplit(serving.url)
    statuses: list[int] = []
    done = threading.Event()

    def score() -> None:
        with httpx.Client(timeout=20) as client:
            while not done.is_set():
                statuses.append(client.post(f"{serving.url}/models/{name}/invocations", json=BODY).status_code)

    beside = threading.Thread(target=score)
    beside.start()
    closed = 0
    try:
        with contextlib.ExitStack() as stack:
            began = time.monotonic()
            slow = []
            for number in range(300):
                one = stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=20))
                one.sendall(HALVES[number % len(HALVES)])
                slow.append(one)
            for one in slow:
                one.settimeout(max(0.1, began + WAIT_S - time.monotonic()))
                with contextlib.suppress(TimeoutError):
                    answer = one.recv(4096)
                    closed += answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
    finally:
        done.set()
        beside.join()
    assert closed == 300
    assert len(statuses) > 50
    assert set(statuses) == {200}
