"""Processes that end with whoever started them, also when that one is killed without a chance to end them (Linux)."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def die_with(parent: int, ask: signal.Signals = signal.SIGKILL) -> None:
    """Ask Linux to signal this process when the thread that started it dies; end it if that has happened already.

    Args:
        parent: Process id of who started this one, as told by that process: when we look, it may be another's child.
        ask: The signal.
    """
    if sys.platform == "linux":
        _arrangement(parent, ask)()


def dying_with_us(ask: signal.Signals = signal.SIGKILL) -> Callable[[], None] | None:
    """Give the `preexec_fn` of a process that is to be signalled when the thread that starts it dies."""
    return _arrangement(os.getpid(), ask) if sys.platform == "linux" else None


def _arrangement(parent: int, ask: signal.Signals) -> Callable[[], None]:
    # looked up before the fork: a child of a process with threads must not wait for the loader's lock
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, int(ask), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return arrange
