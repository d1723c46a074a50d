"""The connection to a model host, on the event loop: questions go out, and each answer finds who asked."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from serving import asked as messages
from serving.asked import HEADER, Received, Sent


class LineLostError(Exception):
    """The host has gone before it answered."""


class HostLine(asyncio.Protocol):
    """One connection; as many questions are open on it as the host computes at a time, others wait for their turn."""

    def __init__(self, at_a_time: int, within_s: float, overdue: Callable[[], None]) -> None:
        """Begin with nothing asked.

        Args:
            at_a_time: Questions that the host computes at a time.
            within_s: How long it may compute one.
            overdue: Called, once the connection is closed, when it computes one for longer.
        """
        self.pending = 0
        """Questions that wait for their turn."""
        self._turns = asyncio.Semaphore(at_a_time)
        self._within_s = within_s
        self._overdue = overdue
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[Received]] = {}
        self._received = bytearray()
        self._needed = HEADER.size
        self._next = 0

    @property
    def is_open(self) -> bool:
        """Whether questions can be asked."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, message: Sent) -> Received:
        """Ask, and wait for the answer.

        Raises:
            LineLostError: The host has gone.
        """
        payload = messages.write(message)
        self.pending += 1
        try:
            await self._turns.acquire()
        finally:
            self.pending -= 1
        transport = self._transport
        if transport is None or transport.is_closing():
            self._turns.release()
            raise LineLostError
        loop = asyncio.get_running_loop()
        self._next += 1
        number = self._next
        answer: asyncio.Future[Received] = loop.create_future()
        self._waiting[number] = answer
        answer.add_done_callback(partial(self._over, number, loop.call_later(self._within_s, self._too_late)))
        transport.writelines([HEADER.pack(len(payload), number), payload])
        # who asked may go away, but the host goes on computing: only its answer makes room for the next
        return await asyncio.shield(answer)

    def close(self) -> None:
        """End the connection; who still waits is told."""
        if self._transport is not None:
            self._transport.abort()

    def _over(self, number: int, timer: asyncio.TimerHandle, answer: "asyncio.Future[Received]") -> None:
        timer.cancel()
        self._waiting.pop(number, None)
        self._turns.release()
        # whoever asked may be gone
        answer.exception()

    def _too_late(self) -> None:
        if self.is_open:
            self.close()
            self._overdue()

    # what the event loop calls ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take what came; complete frames are answers."""
        received = self._received
        received += data
        # a large answer comes in many pieces: look at it once it is whole
        while len(received) >= self._needed:
            size, number = HEADER.unpack_from(received)
            end = HEADER.size + size
            if len(received) < end:
                self._needed = end
                return
            message = messages.read_received(memoryview(received)[HEADER.size : end].tobytes())
            del received[:end]
            self._needed = HEADER.size
            waiting = self._waiting.get(number)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(LineLostError())
