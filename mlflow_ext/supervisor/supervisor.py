"""Brings parts up in order, keeps them up, and takes them down in reverse order with nothing left running.

One thread, one loop: it reads the children's output, hears signals, asks for readiness and starts what is due. What the
parts are is said in `stack.py`.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import IO

import psutil

from mlflow_ext.errors import UnavailableError
from mlflow_ext.supervisor import child, leftovers
from mlflow_ext.supervisor.logs import Copy, LineLog, log_path
from mlflow_ext.supervisor.part import Part
from mlflow_ext.supervisor.restarts import Restarts
from mlflow_ext.supervisor.signals import StopRequests

TURN_S = 0.1
HURRY_S = 2.0
LIMIT_BEFORE_READY = 2
"""Restarts of a part that was never ready: it is more likely misconfigured than unlucky."""


class Phase(StrEnum):
    """Where a part stands."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    PAUSING = "pausing"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Change:
    """Something people may want to see.

    Attributes:
        part: Name of the part.
        phase: Where it stands now.
        detail: Why, or how long it took.
        pid: Its process, while there is one.
    """

    part: str
    phase: Phase
    detail: str = ""
    pid: int | None = None


@dataclass(slots=True, eq=False)
class _Entry:
    part: Part
    log: LineLog
    phase: Phase = Phase.WAITING
    process: "subprocess.Popen[bytes] | None" = None
    since: float = 0.0
    was_ready: bool = False
    restarts: Restarts = field(default_factory=lambda: Restarts(limit=LIMIT_BEFORE_READY))


class Supervisor:
    """Runs parts until it is asked to stop."""

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        stack: Path,
        logs: Path,
        tell: Callable[[Change], None],
        turn: Callable[[], None] = lambda: None,
        copy: Copy | None = None,
    ) -> None:
        """Take what to run.

        Args:
            parts: In the order of their start.
            stack: Data directory; marks every process as belonging to it.
            logs: Directory of the log files.
            tell: Hears every change.
            turn: Called every tenth of a second or so.
            copy: Takes every line of output, with the part's name.
        """
        self._entries = [_Entry(part, LineLog(logs, part.name, copy)) for part in parts]
        self._stack = stack
        self._logs = logs
        self._tell = tell
        self._on_turn = turn
        self._stop = StopRequests()
        self._selector = selectors.DefaultSelector()

    def run(self, when_ready: Callable[[], None]) -> None:
        """Bring everything up, call `when_ready` once, and keep it up until SIGINT, SIGTERM or SIGHUP.

        Raises:
            UnavailableError: A part does not come up, or dies too often; everything is stopped by then.
        """
        child.adopt_orphans()
        with self._stop:
            self._selector.register(self._stop, selectors.EVENT_READ, self._stop.drain)
            try:
                told = False
                while not self._stop.count:
                    for entry in self._entries:
                        self._advance(entry)
                    if not told and all(entry.phase is Phase.READY for entry in self._entries):
                        told = True
                        when_ready()
                    self._turn(TURN_S)
            finally:
                self._stop_all()
                self._selector.close()

    def pids(self) -> dict[str, int]:
        """Give the main process of every living part."""
        return {e.part.name: e.process.pid for e in self._entries if e.process is not None and not e.part.once}

    def _advance(self, entry: _Entry) -> None:
        part, now = entry.part, time.monotonic()
        code = entry.process.poll() if entry.process is not None else None
        match entry.phase:
            case Phase.WAITING:
                earlier = self._entries[: self._entries.index(entry)]
                if all(other.phase is Phase.READY for other in earlier):
                    self._start(entry)
            case Phase.PAUSING if now >= entry.since:
                self._start(entry)
            case Phase.STARTING if part.once:
                if code == 0 and part.is_ready():
                    entry.process = None
                    self._ready(entry, now)
                elif code is not None:
                    raise self._failure(entry, f"ended with {_said(code)}")
                elif now - entry.since > part.ready_within_s:
                    raise self._failure(entry, f"did not end within {part.ready_within_s:.0f} s")
            case Phase.STARTING if code is None and part.is_ready():
                self._ready(entry, now)
            case Phase.STARTING if code is None and now - entry.since > part.ready_within_s:
                self._died(entry, f"was not ready within {part.ready_within_s:.0f} s")
            case Phase.STARTING | Phase.READY if code is not None:
                self._died(entry, f"ended with {_said(code)}")

    def _start(self, entry: _Entry) -> None:
        try:
            entry.part.prepare()
            entry.process = child.start(entry.part, self._stack)
        except OSError as exc:
            raise self._failure(entry, f"cannot be started: {exc}") from exc
        output = _output(entry.process)
        self._selector.register(output, selectors.EVENT_READ, partial(self._read, output, entry.log))
        entry.since = time.monotonic()
        self._change(entry, Phase.STARTING)

    def _ready(self, entry: _Entry, now: float) -> None:
        if not entry.was_ready:
            entry.was_ready = True
            entry.restarts = Restarts()
        self._change(entry, Phase.READY, f"{now - entry.since:.1f} s")

    def _died(self, entry: _Entry, why: str) -> None:
        # what it started may still hold its port or its files
        self._end_rest(entry)
        entry.process = None
        pause_s = entry.restarts.pause_after_death(time.monotonic())
        if pause_s is None:
            raise self._failure(entry, f"{why}, too often to try again")
        entry.since = time.monotonic() + pause_s
        self._change(entry, Phase.PAUSING, f"{why}; starts again in {pause_s:.1f} s")

    def _failure(self, entry: _Entry, why: str) -> UnavailableError:
        for _ in range(3):
            self._turn(0)
        lines = "".join(f"\n    {line}" for line in entry.log.last_lines())
        return UnavailableError(f"{entry.part.name} {why}; see {log_path(self._logs, entry.part.name)}{lines}")

    def _stop_all(self) -> None:
        for entry in reversed(self._entries):
            process = entry.process
            if process is not None:
                self._change(entry, Phase.STOPPED, "stopping")
                family = leftovers.of_part(entry.part, process.pid)
                with suppress(ProcessLookupError):
                    process.send_signal(entry.part.stop_signal)
                self._wait_for(process, entry.part.stop_within_s)
                self._end_rest(entry, family)
                entry.process = None
            entry.phase = Phase.STOPPED
        leftovers.end(psutil.Process().children(recursive=True), self._turn)
        for entry in self._entries:
            entry.log.close()

    def _wait_for(self, process: "subprocess.Popen[bytes]", patience_s: float) -> None:
        begun = time.monotonic()
        asked = self._stop.count
        while process.poll() is None:
            hurried = self._stop.count > max(asked, 1)
            if time.monotonic() - begun > (HURRY_S if hurried else patience_s):
                return
            self._turn(0.02)

    def _end_rest(self, entry: _Entry, family: Sequence[psutil.Process] = ()) -> None:
        process = entry.process
        if process is not None and process.poll() is None:
            with suppress(ProcessLookupError):
                process.kill()
            self._wait_for(process, HURRY_S)
        leftovers.end({*family, *leftovers.of_part(entry.part, None)}, self._turn)

    def _turn(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            key.data()
        self._reap()
        self._on_turn()

    def _read(self, output: IO[bytes], log: LineLog) -> None:
        try:
            data = os.read(output.fileno(), 65_536)
        except BlockingIOError:
            return
        if data:
            log.feed(data)
        else:
            self._selector.unregister(output)
            output.close()

    def _reap(self) -> None:
        known = {entry.process.pid: entry.process for entry in self._entries if entry.process is not None}
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is None:
                    return
                if ended.si_pid in known:
                    known[ended.si_pid].poll()
                else:
                    os.waitpid(ended.si_pid, os.WNOHANG)
            except ChildProcessError:
                return

    def _change(self, entry: _Entry, phase: Phase, detail: str = "") -> None:
        entry.phase = phase
        entry.log.note(f"{phase.value} {detail}".rstrip())
        pid = entry.process.pid if entry.process is not None else None
        self._tell(Change(entry.part.name, phase, detail, pid))


def _output(process: "subprocess.Popen[bytes]") -> IO[bytes]:
    if process.stdout is None:
        raise TypeError("a child is started with its output in a pipe")
    return process.stdout


def _said(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
