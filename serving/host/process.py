"""The process that model hosts are forked from: `python -m serving.host.process --fd N`, started by `command.py`.

It imports what models need, once, and forks for each request, so that hosts begin in milliseconds and share its memory.
A model that crashes, hangs or eats memory does so in its host. This process holds no settings and no connection of
ours, runs no model's code, and has one thread (jemalloc stops its own around a fork), so forking it is safe. Who asks:
`host_opening.py`.
"""

import argparse
import contextlib
import gc
import json
import logging
import os
import selectors
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import FrameType
from typing import NoReturn

from mlflow_ext.domain.privacy import KeyedHash
from mlflow_ext.errors import MlflowExtError
from mlflow_ext.giving_way import give_way_here, session_gives_way
from mlflow_ext.parent_death import die_with
from serving.asked import Opened, Refused, frame
from serving.asked import write as written
from serving.host.limits import be_first_to_go
from serving.host_request import LENGTH, HostRequest, ModelLoadError, kind_of, read
from serving.trace_notes import TraceIds

logger = logging.getLogger(__name__)

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_REQUEST_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class _Host:
    pid: int
    control: socket.socket


class Forking:
    """Forks a host for each request, tells how each ended, and kills those that nobody wants any more."""

    def __init__(self, listening: socket.socket, niceness: int) -> None:
        """Take the socket on which requests come, and how much a load gives way: scoring comes first."""
        self._listening = listening
        self._niceness = niceness
        self._hosts: dict[int, _Host] = {}
        self._selector = selectors.DefaultSelector()
        self._stopped = False

    def run(self) -> None:
        """Answer requests until SIGTERM; all hosts end then, and whatever they have started."""
        waking, woken = socket.socketpair()
        woken.setblocking(False)
        waking.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._listening, selectors.EVENT_READ, self._open)
        self._selector.register(woken, selectors.EVENT_READ, lambda: self._reap(woken))
        while not self._stopped:
            for key, _ in self._selector.select():
                key.data()
        for pid in self._hosts:
            _kill(pid)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopped = True

    def _open(self) -> None:
        control, _ = self._listening.accept()
        try:
            control.settimeout(_REQUEST_WITHIN_S)
            request, data = _request(control)
        except (OSError, ValueError) as exc:
            logger.warning("event=host_request_failed reason=%r", str(exc))
            control.close()
            return
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            self._selector.close()
            for inherited in (self._listening, control, *(host.control for host in self._hosts.values())):
                inherited.close()
            _and_end(lambda: _be_host(request, data, parent, self._niceness))
        data.close()
        control.setblocking(False)
        self._hosts[pid] = _Host(pid, control)
        self._selector.register(control, selectors.EVENT_READ, lambda: _kill(pid))

    def _reap(self, woken: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            woken.recv(4096)
        for pid in list(self._hosts):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            host = self._hosts.pop(pid)
            # whatever it has started goes with it
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            self._selector.unregister(host.control)
            with contextlib.suppress(OSError):
                host.control.send(json.dumps({"ended": how(status)}).encode())
            host.control.close()


def how(status: int) -> str:
    """Say how a process ended."""
    code = os.waitstatus_to_exitcode(status)
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _kill(pid: int) -> None:
    # not reaped yet, so the number is still its own
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _request(control: socket.socket) -> tuple[HostRequest, socket.socket]:
    """Read a request, and take the connection on which its answers are wanted."""
    head, descriptors, _, _ = socket.recv_fds(control, LENGTH.size, 1)
    if len(descriptors) != 1 or len(head) != LENGTH.size:
        raise ValueError("a request without a connection")
    data = socket.socket(fileno=descriptors[0])
    left = LENGTH.unpack(head)[0]
    content = bytearray()
    while left:
        some = control.recv(min(left, 1 << 20))
        if not some:
            data.close()
            raise ValueError("a request that is cut off")
        content += some
        left -= len(some)
    try:
        return read(bytes(content)), data
    except ValueError:
        data.close()
        raise


def _be_host(request: HostRequest, data: socket.socket, parent: int, niceness: int) -> None:
    os.setsid()
    session_gives_way(niceness, tries=1)
    die_with(parent)
    be_first_to_go()
    _log_on()
    from serving.host.answering import Answering
    from serving.host.opening import open_version
    from serving.host.redaction import FormatRedactor

    made: list[Answering] = []

    def load() -> None:
        give_way_here(niceness)
        message: Opened | Refused
        arrays: list[memoryview] = []
        try:
            opened, message, arrays = open_version(request, lambda began: data.sendall(frame(0, written(began))))
            redactor = None
            if request.privacy is not None:
                keyed_hash = None if request.hash_key is None else KeyedHash(request.hash_key)
                redactor = FormatRedactor(request.privacy, keyed_hash, opened.input_schema)
            made.append(Answering(opened, request.bounds, redactor))
        except MemoryError:
            reason = f"opening it takes more than {request.memory_bytes} bytes of memory"
            message = Refused(ModelLoadError.__name__, reason)
        except MlflowExtError as exc:
            message = Refused(kind_of(exc), _told(exc))
        # a model's own code runs while its plan is compiled, and raises what it likes
        except Exception as exc:
            logger.exception("event=host_not_opened model=%r", request.version.model)
            message = Refused(ModelLoadError.__name__, f"it cannot be opened: {type(exc).__name__}: {_told(exc)}")
        data.sendall(frame(0, written(message)))
        for array in arrays:
            data.sendall(array)

    # on a thread, since how nicely it runs is a thread's own: the threads that answer are begun by this one
    thread = threading.Thread(target=lambda: _or_end(load), name="load")
    thread.start()
    thread.join()
    session_gives_way(0)
    if made:
        made[0].serve(data, request.threads)


def _told(exc: Exception) -> str:
    text = " ".join(str(exc).split())[:2000] or type(exc).__name__
    return text.encode("utf-8", "replace").decode()


def _log_on() -> None:
    """Keep the service's log for ourselves; what a model prints belongs nowhere."""
    log = os.fdopen(os.dup(2), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    logging.basicConfig(level="INFO", format=LOG_FORMAT, stream=log, force=True)
    logging.getLogger().handlers[0].addFilter(TraceIds())


def _or_end(work: Callable[[], None]) -> None:
    """Do work on a thread, and end the process where even that goes wrong."""
    try:
        work()
    # a model may raise SystemExit; whatever it was, this host is of no use
    except BaseException:
        logger.exception("event=host_failed")
        os._exit(1)


def _and_end(work: Callable[[], None]) -> NoReturn:
    """Do a copy's work and end it, without what a process does at its ordinary end."""
    _or_end(work)
    os._exit(0)


def main() -> None:
    """Prepare, and serve."""
    arguments = argparse.ArgumentParser(prog="python -m serving.host.process")
    arguments.add_argument("--fd", type=int, required=True, help="listening Unix socket")
    arguments.add_argument("--niceness", type=int, default=0, help="how much a load gives way: 0 (not) to 19")
    given = arguments.parse_args()
    # a model's code has no business with our settings, the database's password among them
    for name in [name for name in os.environ if name.startswith("MLFLOW_EXT_")]:
        del os.environ[name]
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    logging.basicConfig(level="INFO", format=LOG_FORMAT)
    for module in ("serving.host.answering", "serving.host.opening", "serving.host.redaction"):
        import_module(module)
    from serving.host.opening import prepare

    prepare()
    # hosts share the memory of what was imported for as long as the collector leaves it alone
    gc.collect()
    gc.freeze()
    # a fork is one long call of the kernel's; hosts have sessions of their own
    session_gives_way(given.niceness)
    with socket.socket(fileno=given.fd) as listening:
        logger.info("event=hosts_ready pid=%d", os.getpid())
        Forking(listening, given.niceness).run()


if __name__ == "__main__":
    main()
