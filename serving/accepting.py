"""Accepts connections one at a time, so that scoring processes that share a listening socket share its connections.

An event loop's own server takes all connections that wait. Where clients open theirs together, as pools and load
generators do, whichever process woke up first would serve all of them for as long as they are kept open.
"""

import asyncio
import logging
import socket
from collections.abc import Callable

logger = logging.getLogger(__name__)

_AGAIN_S = 0.5


class Accepting:
    """Gives a protocol to each connection of a socket; has what uvicorn asks of an event loop's server."""

    def __init__(self, listening: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Take the socket and what makes protocols, and begin; needs a running event loop."""
        listening.setblocking(False)
        self._listening = listening
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._welcomed: set[asyncio.Task[None]] = set()
        self._begin()

    def close(self) -> None:
        """Accept no more."""
        self._open = False
        self._loop.remove_reader(self._listening)

    async def wait_closed(self) -> None:
        """Wait for the connections that have no protocol yet."""
        await asyncio.gather(*self._welcomed)

    def _begin(self) -> None:
        if self._open:
            self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        """Accept one; if more wait, the event loop comes back after whatever else there is to do."""
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            # another process was first, or the client has gone
            return
        except OSError as exc:
            # out of descriptors or memory: what waits goes on waiting
            logger.error("event=not_accepted reason=%r", str(exc))  # noqa: TRY400  (no news in its traceback)
            self._loop.remove_reader(self._listening)
            self._loop.call_later(_AGAIN_S, self._begin)
            return
        welcome = self._loop.create_task(self._welcome(connection))
        self._welcomed.add(welcome)
        welcome.add_done_callback(self._welcomed.discard)

    async def _welcome(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:
            # reset before it began
            connection.close()
