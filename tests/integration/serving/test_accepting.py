"""Connections on a real listening socket that several accept from."""

import asyncio
import logging
import os
import resource
import socket
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import cast

import pytest
import uvloop

from serving.accepting import Accepting
from tests.conftest import wait_until


class Greets(asyncio.Protocol):
    """Says its name, and closes."""

    def __init__(self, name: bytes) -> None:
        """Take the name."""
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say it."""
        # uvloop's transports are of no class of asyncio's
        writing = cast("asyncio.Transport", transport)
        writing.write(self._name)
        writing.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A listening socket."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as opened:
        yield opened


async def greeted(client: socket.socket) -> bytes:
    """Read what a connection is told."""
    return await asyncio.get_running_loop().sock_recv(client, 100)


def connected(listening: socket.socket) -> socket.socket:
    """Open a connection that nobody has accepted yet."""
    client = socket.create_connection(listening.getsockname())
    client.setblocking(False)
    return client


def test_connections_that_come_at_once_are_shared(listening: socket.socket) -> None:
    """64 connections that wait already are shared among two that accept, half each."""

    async def ask() -> Counter[bytes]:
        clients = [connected(listening) for _ in range(64)]
        own = [listening.dup(), listening.dup()]
        both = [Accepting(one, partial(Greets, name)) for one, name in zip(own, (b"first", b"second"), strict=True)]
        told = Counter([await greeted(client) for client in clients])
        for accepting, one in zip(both, own, strict=True):
            accepting.close()
            await accepting.wait_closed()
            one.close()
        for client in clients:
            client.close()
        return told

    assert uvloop.run(ask()) == {b"first": 32, b"second": 32}


def test_small_answers_are_not_held_back(listening: socket.socket) -> None:
    """Each connection sends at once (TCP_NODELAY), instead of waiting for the acknowledgement of what went before."""
    seen: list[int] = []

    class Looks(Greets):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            own = transport.get_extra_info("socket")
            seen.append(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            super().connection_made(transport)

    async def ask() -> None:
        own = listening.dup()
        accepting = Accepting(own, partial(Looks, b"hello"))
        with connected(listening) as client:
            assert await greeted(client) == b"hello"
        accepting.close()
        own.close()

    uvloop.run(ask())
    assert seen == [1]


def test_nothing_is_accepted_once_it_is_closed(listening: socket.socket) -> None:
    """What comes later stays in the queue, for another process."""

    async def ask() -> bytes:
        own = listening.dup()
        closed = Accepting(own, partial(Greets, b"closed"))
        closed.close()
        await closed.wait_closed()
        with connected(listening) as client:
            await asyncio.sleep(0.1)
            other = Accepting(own, partial(Greets, b"other"))
            told = await greeted(client)
            other.close()
        own.close()
        return told

    assert uvloop.run(ask()) == b"other"


def test_without_descriptors_connections_wait(listening: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    """A process that has no descriptors left says so, and accepts what waits as soon as it has some again."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def ask() -> bytes:
        own = listening.dup()
        with connected(listening) as client:
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
            try:
                accepting = Accepting(own, partial(Greets, b"late"))
                await asyncio.get_running_loop().run_in_executor(None, wait_until, lambda: caplog.records, 30)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            told = await greeted(client)
        accepting.close()
        own.close()
        return told

    with caplog.at_level(logging.ERROR, logger="serving.accepting"):
        assert uvloop.run(asyncio.wait_for(ask(), 60)) == b"late"
    assert "event=not_accepted reason='[Errno 24] Too many open files'" in caplog.text
