"""Signals as something a loop can wait for: a request to stop, and a pipe that wakes the loop up."""

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Self

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequests:
    """Counts requests to stop while it is entered; one that comes during the stop asks for haste.

    Attributes:
        count: How many came.
    """

    def __init__(self) -> None:
        """Touch nothing yet."""
        self.count = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take over the signals; main thread only."""
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._wakeup_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in STOPPING:
            # nohup: the terminal may go, we stay
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._note)
        # without a handler of its own the end of a child would not wake the loop up
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        """Give what becomes readable when a signal arrives."""
        return self._read

    def drain(self) -> None:
        """Forget that the loop was woken up."""
        while True:
            try:
                if len(os.read(self._read, 512)) < 512:
                    return
            except BlockingIOError:
                return

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
