"""The promotion service's child processes: started, started again when they die, and stopped in order.

What runs is decided in `command.py`; `mlflow-ext up` supervises this service as a whole (`mlflow_ext/supervisor`).
"""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from mlflow_ext.errors import UnavailableError
from mlflow_ext.parent_death import dying_with_us
from mlflow_ext.supervisor.restarts import Restarts

logger = logging.getLogger(__name__)

TURN_S = 0.05


@dataclass(slots=True)
class Child:
    """One child process.

    Attributes:
        name: For log lines.
        command: Program and arguments.
        again: Further arguments when it is started again after a death.
        stop_within_s: How long it may take to end after SIGTERM, in seconds.
        environment: Variables over our own.
        pass_fds: Descriptors that it inherits.
        ended: Called with its pid when it is gone.
    """

    name: str
    command: tuple[str, ...]
    stop_within_s: float
    again: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    pass_fds: tuple[int, ...] = ()
    ended: Callable[[int], None] = lambda pid: None
    process: "subprocess.Popen[bytes] | None" = None
    restarts: Restarts = field(default_factory=Restarts)
    start_at: float = 0.0

    def start(self, *, again: bool) -> None:
        """Start it; it is asked to end by the kernel should we be killed (Linux)."""
        self.process = subprocess.Popen(
            (*self.command, *(self.again if again else ())),
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self.environment},
            pass_fds=self.pass_fds,
            # a session of its own: Ctrl-C in the terminal is ours alone, so the order of stopping is ours as well; and
            # where Linux shares time among sessions, what works beside scoring does not take of scoring's share
            start_new_session=True,
            # safe here: this process has one thread
            preexec_fn=dying_with_us(signal.SIGTERM),
        )
        logger.info("event=child_started name=%s pid=%d", self.name, self.process.pid)

    def tend(self, now: float) -> None:
        """Start it when it is due; notice when it died.

        Raises:
            UnavailableError: It dies too often.
        """
        if self.process is None:
            if now >= self.start_at:
                self.start(again=self.start_at > 0)
            return
        code = self.process.poll()
        if code is None:
            return
        self.ended(self.process.pid)
        pause_s = self.restarts.pause_after_death(now)
        logger.error("event=child_died name=%s pid=%d code=%d", self.name, self.process.pid, code)
        self.process = None
        if pause_s is None:
            raise UnavailableError(f"the {self.name} process dies too often (last exit code {code}); see the log above")
        self.start_at = now + pause_s


class Children:
    """Children that are kept alive until SIGTERM or SIGINT, then stopped group by group."""

    def __init__(self, groups: list[list[Child]]) -> None:
        """Take the children in the order in which they are to be stopped."""
        self._groups = groups
        self._asked = 0

    def run(self) -> None:
        """Keep them alive until a signal comes; nothing is left running afterwards.

        Raises:
            UnavailableError: One of them dies too often.
        """
        with self._signals():
            try:
                while not self._asked:
                    for group in self._groups:
                        for child in group:
                            child.tend(time.monotonic())
                    time.sleep(TURN_S)
            finally:
                for group in self._groups:
                    self._stop(group)

    def _stop(self, group: list[Child]) -> None:
        began, asked = time.monotonic(), self._asked
        living = [(child, child.process) for child in group if child.process is not None]
        for _, process in living:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for child, process in living:
            # a second signal from outside ends the patience
            while (
                process.poll() is None
                and time.monotonic() - began < child.stop_within_s
                and self._asked <= max(1, asked)
            ):
                time.sleep(TURN_S)
            if process.poll() is None:
                logger.warning("event=child_killed name=%s pid=%d", child.name, process.pid)
                process.kill()
            code = process.wait()
            logger.info("event=child_stopped name=%s pid=%d code=%d", child.name, process.pid, code)
            child.ended(process.pid)
            child.process = None

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def ask(number: int, frame: FrameType | None) -> None:
            self._asked += 1

        former = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
