"""A version's model host as a scoring process sees it: asked, ended when it hangs, begun again when it dies.

How one is opened: `host_opening.py`; what it does: `host/`. The plan of the version computes in the scoring process,
and goes on while its host is away.
"""

import asyncio
import logging
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from numpy.typing import NDArray

from mlflow_ext.errors import MlflowExtError, UnavailableError
from serving.asked import Answered, Asked, Predicted, Question, Received, Sent, Table, table_of
from serving.codecs.answer import Answer
from serving.host_line import HostLine, LineLostError
from serving.host_opening import OpenedHost
from serving.kernels import Rows

logger = logging.getLogger(__name__)

WAIT_S = 10.0
"""How long a request waits for a host that is being opened again."""
_LOOK_BACK_S = 120.0
_LONGEST_PAUSE_S = 60.0


class Host(Protocol):
    """What answers for a version where its plan does not."""

    async def ask(self, asked: Asked, timeout_s: float) -> Answer:
        """Answer a request by MLflow's code.

        Raises:
            TimeoutError: It took longer than that.
            UnavailableError: The host is away.
        """
        ...

    async def predict(self, rows: Rows) -> NDArray[Any] | None:
        """Predict rows: one value a row, or nothing where only MLflow's code knows what to do with them.

        Raises:
            TimeoutError: It took longer than requests may take.
            UnavailableError: The host is away.
        """
        ...

    @property
    def trouble(self) -> str | None:
        """Why it ended last, lately."""
        ...

    @property
    def pending(self) -> int:
        """How many questions wait for it: for their turn, or for a host that is being opened again."""
        ...


class ModelHost:
    """One version's host; ends when nobody refers to it any more."""

    def __init__(
        self,
        name: str,
        opened: OpenedHost,
        again: Callable[[], OpenedHost],
        threads: ThreadPoolExecutor,
        at_a_time: int,
        timeout_s: float,
        died: Callable[[], None],
    ) -> None:
        """Take a host that is open.

        Args:
            name: Of model and version, for the log.
            opened: The open host.
            again: Opens it once more; takes seconds.
            threads: Where that is done.
            at_a_time: Questions that it computes at a time.
            timeout_s: How long it may compute one.
            died: Called when it has died.
        """
        self._name = name
        self._again = again
        self._threads = threads
        self._at_a_time = at_a_time
        self._timeout_s = timeout_s
        self._died = died
        self._line: HostLine | None = None
        self._opened = opened
        self._opening: asyncio.Task[HostLine] | None = None
        self._deaths: deque[float] = deque(maxlen=16)
        self._not_before = 0.0
        self._reason: str | None = None
        self._buried = False
        self._without = 0
        self._finalizer = weakref.finalize(self, opened.close)

    @property
    def trouble(self) -> str | None:
        """Why it ended last; nothing when that is a while ago."""
        lately = bool(self._deaths) and time.monotonic() - self._deaths[-1] < _LOOK_BACK_S
        return self._reason if lately else None

    @property
    def pending(self) -> int:
        """How many questions wait for it: for their turn, or for a host that is being opened again."""
        return self._without + (0 if self._line is None else self._line.pending)

    def close(self) -> None:
        """End it, before it would end by itself."""
        self._finalizer()

    async def ask(self, asked: Asked, timeout_s: float) -> Answer:
        """Answer a request by MLflow's code.

        Raises:
            TimeoutError: It took longer than that, waiting for its turn included.
            UnavailableError: The host is away.
        """
        answered = await self._asked(Question(asked), timeout_s)
        if not isinstance(answered, Answered):
            raise UnavailableError("the model's process could not answer this request")
        return answered.answer

    async def predict(self, rows: Rows) -> NDArray[Any] | None:
        """Predict rows in the host: one value a row, or nothing where only MLflow's code knows what to do with them.

        Raises:
            TimeoutError: It took longer than requests may take, waiting for its turn included.
            UnavailableError: The host is away.
        """
        table: Table = table_of(rows)
        answered = await self._asked(table, self._timeout_s)
        return answered.array if isinstance(answered, Predicted) else None

    async def _asked(self, message: Sent, timeout_s: float) -> Received:
        until = asyncio.get_running_loop().time() + timeout_s
        for _ in range(2):
            line = self._line if self._line is not None and self._line.is_open else await self._reopened(until)
            try:
                async with asyncio.timeout_at(until):
                    return await line.ask(message)
            except LineLostError:
                # nothing was answered: whoever asked asks once more, since it may have been another's request
                continue
        raise UnavailableError(f"the model's process ended while it answered this request: {self._reason}")

    async def _reopened(self, until: float) -> HostLine:
        """Wait for a connection to a living host."""
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._connect())
        loop = asyncio.get_running_loop()
        self._without += 1
        try:
            async with asyncio.timeout_at(min(until, loop.time() + WAIT_S)):
                return await asyncio.shield(self._opening)
        except TimeoutError:
            raise UnavailableError(f"the model's process is being started again: {self._reason}") from None
        finally:
            self._without -= 1

    async def _connect(self) -> HostLine:
        loop = asyncio.get_running_loop()
        if self._line is not None:
            if not self._buried:
                reason = await loop.run_in_executor(self._threads, self._opened.ended)
                self._opened.close()
                self._buried = True
                self._ended(reason)
            if time.monotonic() < self._not_before:
                raise UnavailableError(f"the model's process is started again in a while: {self._reason}")
            try:
                self._opened = await loop.run_in_executor(self._threads, self._again)
                # its plan has been computing here since it was loaded
                self._opened.arrays.clear()
            except MlflowExtError as exc:
                self._ended(f"it could not be started again: {exc}")
                raise UnavailableError(f"the model's process is away: {self._reason}") from exc
            self._finalizer.detach()
            self._finalizer = weakref.finalize(self, self._opened.close)
            self._buried = False
        opened = self._opened
        opened.is_asked = True
        overdue = partial(opened.close, f"a request took longer than {self._timeout_s:g} s")
        line = partial(HostLine, self._at_a_time, self._timeout_s, overdue)
        _, self._line = await loop.create_unix_connection(line, sock=opened.data)
        return self._line

    def _ended(self, reason: str) -> None:
        now = time.monotonic()
        self._deaths.append(now)
        lately = sum(1 for at in self._deaths if now - at < _LOOK_BACK_S)
        # the first time at once; a version that goes on dying costs the machine less and less
        pause_s = 0.0 if lately <= 1 else min(2.0 ** (lately - 2), _LONGEST_PAUSE_S)
        self._not_before, self._reason = now + pause_s, reason
        logger.error("event=host_died host=%r reason=%r again_in_s=%.0f", self._name, reason, pause_s)
        self._died()
