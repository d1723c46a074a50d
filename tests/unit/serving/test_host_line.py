"""The connection to a model host: who waits for a turn ends nothing, who computes for ever ends the host."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from serving import asked as messages
from serving.asked import HEADER, Predicted, Table, frame
from serving.host_line import HostLine, LineLostError

QUESTION = Table(rows=[(1.0,)])
SOON_S, LONG_S = 0.2, 60.0


class OtherSide:
    """What a host sees, answering when it is told to."""

    def __init__(self, connection: socket.socket) -> None:
        """Take its end of the connection."""
        self._connection = connection
        connection.setblocking(False)

    async def question(self) -> int:
        """Wait for a question, and give its number."""
        loop = asyncio.get_running_loop()
        received = b""
        while len(received) < HEADER.size:
            received += await loop.sock_recv(self._connection, HEADER.size - len(received))
        size, number = HEADER.unpack(received)
        while size:
            size -= len(await loop.sock_recv(self._connection, size))
        return int(number)

    async def has_question(self) -> bool:
        """Tell whether another question has come."""
        try:
            return bool(self._connection.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False

    async def answer(self, number: int) -> None:
        """Answer a question."""
        content = frame(number, messages.write(Predicted([float(number)], "<f8")))
        await asyncio.get_running_loop().sock_sendall(self._connection, content)


@asynccontextmanager
async def connected(at_a_time: int, within_s: float, ended: list[str]) -> AsyncIterator[tuple[HostLine, OtherSide]]:
    """Connect a line to its other side; `ended` is told when a question took too long."""
    ours, theirs = socket.socketpair()
    make = partial(HostLine, at_a_time, within_s, lambda: ended.append("overdue"))
    with theirs:
        _, line = await asyncio.get_running_loop().create_unix_connection(make, sock=ours)
        try:
            yield line, OtherSide(theirs)
        finally:
            line.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test, which may not hang."""

    async def bounded() -> None:
        async with asyncio.timeout(LONG_S):
            await test()

    asyncio.run(bounded())


def test_who_waits_for_a_turn_ends_nothing() -> None:
    """A second question is asked when the first is answered; its patience may be over long before, and no host ends."""

    async def test() -> None:
        ended: list[str] = []
        async with connected(1, LONG_S, ended) as (line, host):
            first = asyncio.create_task(line.ask(QUESTION))
            number = await host.question()
            assert line.pending == 0
            second = asyncio.create_task(line.ask(QUESTION))
            await asyncio.wait([second], timeout=SOON_S)
            assert line.pending == 1
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SOON_S):
                    await second
            assert line.pending == 0
            assert not await host.has_question()
            await host.answer(number)
            assert await first == Predicted([float(number)], "<f8")
            third = asyncio.create_task(line.ask(QUESTION))
            await host.answer(await host.question())
            await third
        assert ended == []

    run(test)


def test_who_goes_away_leaves_the_turn_to_the_computation() -> None:
    """When a client is gone its question is still being computed, so the next one waits for the answer all the same."""

    async def test() -> None:
        async with connected(1, LONG_S, []) as (line, host):
            gone = asyncio.create_task(line.ask(QUESTION))
            number = await host.question()
            gone.cancel()
            second = asyncio.create_task(line.ask(QUESTION))
            await asyncio.wait([gone, second], timeout=SOON_S, return_when=asyncio.ALL_COMPLETED)
            assert (gone.cancelled(), second.done(), await host.has_question()) == (True, False, False)
            await host.answer(number)
            await host.answer(await host.question())
            await second

    run(test)


def test_who_computes_for_ever_ends_the_host() -> None:
    """After its time the connection is closed and the end is told, also when who asked has left; all others hear."""

    async def test() -> None:
        ended: list[str] = []
        async with connected(2, SOON_S, ended) as (line, host):
            gone = asyncio.create_task(line.ask(QUESTION))
            await host.question()
            gone.cancel()
            others = [asyncio.create_task(line.ask(QUESTION)) for _ in range(4)]
            await asyncio.wait(others)
            assert {type(other.exception()) for other in others} == {LineLostError}
            assert (ended, line.is_open) == (["overdue"], False)

    run(test)
