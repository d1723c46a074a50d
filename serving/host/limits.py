"""Bounds of a model host, set by itself before a model's code runs in it: whoever dies of them, scoring goes on."""

import contextlib
import math
import resource
import sys
import time
from pathlib import Path

_MAX_FILE_BYTES = 1024**2
_MAX_OPEN_FILES = 256


def be_first_to_go() -> None:
    """Be ended before anything else when the machine's memory runs out (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")


class LoadLimits:
    """What loading a model may use; `lift` leaves the bound on memory."""

    def __init__(self, timeout_s: float, memory_bytes: int) -> None:
        """Set the limits.

        Args:
            timeout_s: CPU seconds, from now.
            memory_bytes: Memory beside what is used now.
        """
        self._timeout_s = timeout_s
        self._before: dict[int, tuple[int, int]] = {}
        _bound(resource.RLIMIT_AS, _used_bytes() + memory_bytes)
        _bound(resource.RLIMIT_CORE, 0)
        for what, most in (
            (resource.RLIMIT_CPU, self._cpu_s()),
            (resource.RLIMIT_FSIZE, _MAX_FILE_BYTES),
            (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        ):
            self._before[what] = resource.getrlimit(what)
            _bound(what, most, hard=self._before[what][1])

    def renew(self) -> None:
        """Give as much CPU time again, from now."""
        _bound(resource.RLIMIT_CPU, self._cpu_s(), hard=self._before[resource.RLIMIT_CPU][1])

    def _cpu_s(self) -> int:
        return math.ceil(time.process_time() + self._timeout_s)

    def lift(self) -> None:
        """Take the limits of loading away: from now on requests are answered, and deadlines bound them."""
        for what, before in self._before.items():
            resource.setrlimit(what, before)


def _bound(what: int, most: int, hard: int | None = None) -> None:
    known = resource.getrlimit(what)[1]
    bound = most if known == resource.RLIM_INFINITY else min(most, known)
    resource.setrlimit(what, (bound, bound if hard is None else hard))


def _used_bytes() -> int:
    if sys.platform != "linux":
        return 0
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
