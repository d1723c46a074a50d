"""The connection to a model host, on the event loop: questions go out, and each answer finds who asked."""

import asyncio
from typing import cast

from serving import asked as messages
from serving.asked import HEADER, Received, Sent


class LineLostError(Exception):
    """The host has gone before it answered."""


class HostLine(asyncio.Protocol):
    """One connection; any number of questions may be open on it."""

    def __init__(self) -> None:
        """Begin with nothing asked."""
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
        transport = self._transport
        if transport is None or transport.is_closing():
            raise LineLostError
        self._next += 1
        number = self._next
        answer: asyncio.Future[Received] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            payload = messages.write(message)
            transport.writelines([HEADER.pack(len(payload), number), payload])
            return await answer
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        """End the connection; who still waits is told."""
        if self._transport is not None:
            self._transport.abort()

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
