"""Processes of the scheduler's own: the heavy work happens in them, so that killing one costs one piece of work.

A child never outlives the scheduler: it holds the reading end of a pipe, and when that ends it kills its process group,
itself and whatever it started. What the children do is `worker.py`'s.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

from mlflow_ext.giving_way import give_way

_log = logging.getLogger(__name__)

GRACE_S = 3.0


class Child:
    """One process of a kind: started when there is work, started again when it died."""

    def __init__(self, name: str, arguments: Sequence[str], niceness: int = 0) -> None:
        """Take a name for the log, the arguments of `python -m drift.worker`, and how much it gives way to others."""
        self._niceness = niceness
        self.name = name
        # the working directory stays off the import path: it may hold a `drift` of somebody else
        self._command = [sys.executable, "-P", "-m", "drift.worker", *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it lives."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def ensure(self) -> None:
        """Start it unless it lives."""
        if self.pid is not None:
            return
        self.sweep()
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, start_new_session=True)
        give_way(self._process.pid, self._niceness)
        _log.info("child.started name=%s pid=%d", self.name, self._process.pid)

    def sweep(self) -> None:
        """End what a dead child left behind in its process group."""
        if self._process is None or self._process.poll() is None:
            return
        _log.info("child.ended name=%s pid=%d status=%s", self.name, self._process.pid, self._process.returncode)
        self._end(signal.SIGKILL)
        self._process = None

    def stop(self) -> None:
        """Ask it to end, then make it; when this returns its process group is gone."""
        if self._process is None:
            return
        self._end(signal.SIGTERM)
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            _log.warning("child.killed name=%s pid=%d", self.name, self._process.pid)
        self._end(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        if number is signal.SIGKILL and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()


def end_with_parent() -> None:
    """In a child: watch the pipe from the scheduler, and end this process group when the scheduler is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="parent", daemon=True).start()
