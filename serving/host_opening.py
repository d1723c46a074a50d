"""Having a version opened in a model host; the other side is `host/process.py`.

Whatever goes wrong while a model is loaded goes wrong there, and is told here. What is asked of hosts: `model_host.py`.
"""

import json
import logging
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow_ext.errors import MlflowExtError, UnavailableError
from serving import asked as messages
from serving.asked import HEADER, Began, Opened, Received, Refused
from serving.host_request import LENGTH, HostRequest, ModelLoadError, error_of, write

logger = logging.getLogger(__name__)

FETCH_WITHIN_S = 600.0
"""How long a version's files may take to come; MLflow's own time limits hold for each request."""
PREDICTING = "predicting the last logged requests"
_SAYS_WITHIN_S = 2.0


@dataclass(slots=True)
class OpenedHost:
    """A host that holds an open version; ends with its control connection.

    Attributes:
        message: What it told of the version.
        arrays: What its plan's arrays hold; nothing once the plan is read.
        data: Where questions are asked.
        control: Tells how it ended; closing it ends it.
        why: Why we ended it, if we did.
        is_asked: Whether the event loop has taken `data` over.
    """

    message: Opened
    arrays: list[bytearray]
    data: socket.socket
    control: socket.socket
    why: str | None = None
    is_asked: bool = False

    def close(self, why: str | None = None) -> None:
        """End it, if it has not ended."""
        self.why = self.why or why
        # the process that it was forked from ends it then
        self.control.close()
        if not self.is_asked:
            self.data.close()

    def ended(self) -> str:
        """Wait shortly, and say how it ended."""
        return self.why or f"it ended ({_ending(self.control)})"


@dataclass(frozen=True, slots=True)
class Hosts:
    """Opens hosts.

    Attributes:
        address: Unix socket of the process that they are forked from.
    """

    address: Path

    def open(self, request: HostRequest) -> OpenedHost:
        """Have a version opened under limits; takes as long as that takes.

        Raises:
            ModelLoadError: It crashed, took too long or too much memory, or could not be loaded.
            NotFoundError: MLflow does not have it.
            UnavailableError: MLflow, its artifact store, or the process of the hosts does not answer.
            UnsafeModelError: Its files ask for more trust than policy gives, or are not those that passed the gates.
        """
        began = time.monotonic()
        data, theirs = socket.socketpair()
        control = socket.socket(socket.AF_UNIX)
        try:
            with theirs:
                control.settimeout(FETCH_WITHIN_S)
                control.connect(str(self.address))
                content = write(request)
                socket.send_fds(control, [LENGTH.pack(len(content))], [theirs.fileno()])
                control.sendall(content)
            message, arrays = _wait_opened(data, control, request)
        except OSError as exc:
            data.close()
            control.close()
            raise UnavailableError(f"the process of the model hosts does not answer: {exc}") from exc
        except MlflowExtError:
            data.close()
            control.close()
            raise
        version = request.version
        logger.info(
            "event=host_opened model=%r version=%d opened_s=%.3f peak_mb=%d",
            *(version.model, version.version, time.monotonic() - began, message.peak_bytes // 1_000_000),
        )
        return OpenedHost(message, arrays, data, control)


def _wait_opened(data: socket.socket, control: socket.socket, request: HostRequest) -> tuple[Opened, list[bytearray]]:
    waits_s, doing = FETCH_WITHIN_S, "fetching its files"
    while True:
        try:
            message = _read(data, waits_s)
        except TimeoutError as exc:
            raise ModelLoadError(f"{doing} took longer than {waits_s:g} s") from exc
        match message:
            case Began(phase="fetched"):
                waits_s, doing = request.timeout_s, "loading it and predicting its input example"
            case Began(phase="loaded"):
                waits_s, doing = request.timeout_s, PREDICTING
            case Began():
                twin_s = FETCH_WITHIN_S if request.make_twin else 0.0
                waits_s, doing = request.timeout_s + twin_s, "compiling its plan"
            case Refused(kind=kind, reason=reason):
                raise error_of(kind, reason)
            case Opened():
                arrays = _read_arrays(data, message.array_sizes, request)
                data.settimeout(None)
                return message, arrays
            case _:
                how = _ending(control)
                memory = f" or takes more than {request.memory_bytes} bytes of memory" if "SIGKILL" in how else ""
                if doing.startswith("fetching") and "SIG" not in how and "exit" not in how:
                    raise UnavailableError("the process of the model hosts ended while it fetched the version")
                what = PREDICTING if doing == PREDICTING else "loading it"
                raise ModelLoadError(f"{what} ends the process ({how}){memory}")


def _read(data: socket.socket, within_s: float) -> Received | None:
    """Read one message; `None` at the connection's end."""
    until = time.monotonic() + within_s

    head = _exactly(data, HEADER.size, until)
    if not head:
        return None
    payload = _exactly(data, HEADER.unpack(head)[0], until)
    return messages.read_received(payload) if payload else None


def _read_arrays(data: socket.socket, sizes: Sequence[int], request: HostRequest) -> list[bytearray]:
    # a model's code may have written there
    if sum(sizes) > request.memory_bytes or min(sizes, default=0) < 0:
        raise ModelLoadError(f"its plan takes more than {request.memory_bytes} bytes of memory")
    until = time.monotonic() + request.timeout_s
    try:
        arrays = [_exactly(data, size, until) for size in sizes]
    except TimeoutError as exc:
        raise ModelLoadError(f"sending its plan took longer than {request.timeout_s:g} s") from exc
    if [len(array) for array in arrays] != list(sizes):
        raise ModelLoadError("its process ended while it sent its plan")
    return arrays


def _exactly(data: socket.socket, size: int, until: float) -> bytearray:
    """Read so many bytes; nothing when the connection ends before."""
    content = bytearray(size)
    left = memoryview(content)
    while left:
        data.settimeout(max(0.001, until - time.monotonic()))
        read = data.recv_into(left)
        if not read:
            return bytearray()
        left = left[read:]
    return content


def _ending(control: socket.socket) -> str:
    try:
        control.settimeout(_SAYS_WITHIN_S)
        return str(json.loads(control.recv(4096))["ended"])
    except (OSError, ValueError, KeyError):
        return "with the process of the model hosts"
