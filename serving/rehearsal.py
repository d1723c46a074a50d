"""Loading a version in another process before this one loads it; the other process is `rehearsal_process.py`."""

import json
import logging
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from mlflow_ext.errors import MlflowExtError, UnavailableError

logger = logging.getLogger(__name__)

_STARTS_WITHIN_S = 60.0
"""The other process imports what models need before it answers for the first time; asking waits in its queue."""
_MAX_ANSWER_BYTES = 64 * 1024


class ModelLoadError(MlflowExtError):
    """The version's files are all right by their looks, but cannot be loaded or do not predict."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Asks for rehearsals.

    Attributes:
        address: Unix socket on which the other process listens.
        timeout_s: Seconds that loading and predicting the input example may take, and CPU seconds likewise.
        memory_bytes: Memory that it may take; `None` means half of the machine's.
    """

    address: Path
    timeout_s: float
    memory_bytes: int | None = None

    def __call__(self, directory: Path) -> None:
        """Have the files of a version loaded, and its input example predicted, under limits.

        Raises:
            ModelLoadError: It crashed, took too long or too much memory, or could not be loaded; nothing of that
                happened in this process.
            UnavailableError: The other process does not answer.
        """
        request = {
            "directory": str(directory),
            "timeout_s": self.timeout_s,
            "memory_bytes": self.memory_bytes or psutil.virtual_memory().total // 2,
        }
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(self.timeout_s + _STARTS_WITHIN_S)
                connection.connect(str(self.address))
                connection.sendall(json.dumps(request).encode() + b"\n")
                answer = _read(connection)
        except OSError as exc:
            raise UnavailableError(f"the process in which models are loaded first does not answer: {exc}") from exc
        logger.info("event=version_rehearsed directory=%r answer=%r", directory.name, answer)
        if answer.get("refused"):
            raise ModelLoadError(str(answer["refused"])[:2000])
        if not answer.get("loaded"):
            raise UnavailableError("the process in which models are loaded first ended without an answer")


def _read(connection: socket.socket) -> dict[str, Any]:
    received = b""
    while len(received) < _MAX_ANSWER_BYTES and (more := connection.recv(_MAX_ANSWER_BYTES)):
        received += more
    try:
        answer = json.loads(received or b"{}")
    except ValueError:
        answer = {}
    return answer if isinstance(answer, dict) else {}
