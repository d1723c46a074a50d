"""Real schedulers, and their children, that start in milliseconds: one process imports everything once and forks them.

`python -m tests.integration.drift.nursery SOCKET` takes one order a connection, `{"arguments", "environment", "log"}`
and a standard input, answers with the process id, and with its code when it has ended. It ends with its own standard
input, and takes all of its children with it. A scheduler that it forked asks it for its children in the same way.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.conftest import wait_until
from tests.integration.drift import strikes

SOCKET = "NURSERY_SOCKET"
LOG = "NURSERY_LOG"
_WORKER = "drift.worker"


class Forked:
    """A process that the nursery forked, with the part of `subprocess.Popen` that the scheduler uses."""

    def __init__(self, command: Sequence[str], stdin: int | None = None, start_new_session: bool = True) -> None:
        """Ask for `python … -m drift.worker …`; its standard input is a pipe from here when that is asked for."""
        assert start_new_session
        arguments = list(command[list(command).index(_WORKER) :])
        self._begin(os.environ[SOCKET], arguments, dict(os.environ), stdin == subprocess.PIPE)

    @classmethod
    def scheduler(cls, address: str, environment: Mapping[str, str]) -> "Forked":
        """Ask for a `mlflow-ext drift schedule`."""
        one = cls.__new__(cls)
        one._begin(address, ["drift", "schedule"], {**environment, SOCKET: address}, False)
        return one

    def _begin(self, address: str, arguments: list[str], environment: dict[str, str], piped: bool) -> None:
        self.returncode: int | None = None
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.connect(address)
        reading, writing = os.pipe()
        order = {"arguments": arguments, "environment": environment, "log": environment[LOG]}
        socket.send_fds(self._line, [json.dumps(order).encode()], [reading])
        os.close(reading)
        self.stdin = os.fdopen(writing, "wb", buffering=0) if piped else None
        if not piped:
            os.close(writing)
        self.pid = int(json.loads(self._line.recv(1024))["pid"])

    def poll(self) -> int | None:
        """Give its code, negative for a signal; `None` while it lives."""
        with contextlib.suppress(TimeoutError, BlockingIOError):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: It lives on, after a time that is not 0.
        """
        if self.returncode is None:
            self._line.settimeout(timeout)
            try:
                answer = self._line.recv(1024)
            except TimeoutError:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
            self.returncode = int(json.loads(answer)["code"]) if answer else -signal.SIGKILL
            self._line.close()
        return self.returncode


class Nursery:
    """The test's side of it."""

    def __init__(self) -> None:
        """Start it, and wait until it has imported everything."""
        self._directory = Path(tempfile.mkdtemp(prefix="nursery-"))
        self.address = str(self._directory / "orders")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.drift.nursery", self.address],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        wait_until(lambda: Path(self.address).exists() or self._process.poll() is not None, 120)

    def close(self) -> None:
        """End everything."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        for file in self._directory.iterdir():
            file.unlink()
        self._directory.rmdir()


def _be(order: dict[str, Any]) -> None:
    """Become the process that is asked for; never returns."""
    os.environ.clear()
    os.environ.update(order["environment"])
    words: list[str] = order["arguments"]
    code = 0
    try:
        if words[0] == _WORKER:
            from drift import worker

            owner = words[2] if len(words) > 2 else ""
            strikes.arm(owner)
            worker.main(words[1], owner)
        else:
            from drift import children
            from mlflow_ext.cli import cli

            asked: Any = SimpleNamespace(Popen=Forked, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired)
            children.subprocess = asked
            strikes.arm("")
            cli(words)
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except BaseException as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
        code = 1
    finally:
        sys.stderr.flush()
        os._exit(code)


def _fork(order: dict[str, Any], stdin: int, mine: Sequence[int]) -> int:
    child = os.fork()
    if child:
        return child
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for place, descriptor in enumerate((stdin, log, log)):
        os.dup2(descriptor, place)
    for descriptor in {stdin, log, *mine} - {0, 1, 2}:
        os.close(descriptor)
    _be(order)
    raise AssertionError("not reached")


def main(address: str) -> None:
    """Serve until standard input ends."""
    import mlflow.pyfunc  # noqa: F401  (what its children would import at their first use)

    import drift.schedule
    import drift.schedule_command
    import drift.worker  # noqa: F401

    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    partial = f"{address}.partial"
    listening.bind(partial)
    listening.listen(64)
    os.rename(partial, address)  # noqa: PTH104  (whoever sees it may connect)
    lines: dict[int, socket.socket] = {}
    ready = selectors.DefaultSelector()
    ready.register(listening, selectors.EVENT_READ)
    ready.register(0, selectors.EVENT_READ)
    while True:
        found = [key.fileobj for key, _ in ready.select(0.02)]
        if 0 in found:
            break
        if listening in found:
            line, _ = listening.accept()
            told, descriptors, _, _ = socket.recv_fds(line, 1_000_000, 1)
            mine = [listening.fileno(), line.fileno(), ready.fileno(), *(one.fileno() for one in lines.values())]  # type: ignore[attr-defined]
            pid = _fork(json.loads(told), descriptors[0], mine)
            os.close(descriptors[0])
            lines[pid] = line
            line.send(json.dumps({"pid": pid}).encode())
        _tell_ended(lines)
    for pid in lines:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _tell_ended(lines: dict[int, socket.socket]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            line = lines.pop(ended[0])
            with contextlib.suppress(OSError):
                line.send(json.dumps({"code": os.waitstatus_to_exitcode(ended[1])}).encode())
            line.close()


if __name__ == "__main__":
    main(sys.argv[1])
