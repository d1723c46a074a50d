"""Runs somebody else's program for a gate: without a shell, bounded in time and in what it may say."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO

from mlflow_ext.errors import EvaluationImpossibleError, GateUnavailableError
from mlflow_ext.parent_death import dying_with_us

LONGEST_ANSWER_BYTES = 1_000_000
_LONGEST_COMPLAINT_BYTES = 4_000


def run_command(command: Sequence[str], question: bytes, *, timeout_s: float) -> tuple[int, bytes, bytes]:
    """Run a program that reads the question from standard input.

    The program sees this process's environment, which has none of our settings, and dies with this process.

    Returns:
        Exit code, standard output, and the end of standard error.

    Raises:
        EvaluationImpossibleError: There is no such program, or it may not be run.
        GateUnavailableError: It took too long, said too much, or was ended by a signal.
    """
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        asked.write(question)
        asked.seek(0)
        try:
            child = subprocess.Popen(
                command,
                stdin=asked,
                stdout=said,
                stderr=complained,
                process_group=0,
                preexec_fn=dying_with_us(),
            )
        except (OSError, ValueError) as exc:
            raise EvaluationImpossibleError(f"{command[0]} cannot be run: {exc}") from exc
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise GateUnavailableError(f"{command[0]} took longer than {timeout_s:g} s") from None
        finally:
            _end_all_of(child)
        if code < 0:
            raise GateUnavailableError(f"{command[0]} was ended by signal {-code} ({signal.Signals(-code).name})")
        answer, complaint = _read(said, LONGEST_ANSWER_BYTES + 1), _read(complained, _LONGEST_COMPLAINT_BYTES)
    if len(answer) > LONGEST_ANSWER_BYTES:
        raise GateUnavailableError(f"{command[0]} said more than {LONGEST_ANSWER_BYTES} bytes")
    return code, answer, complaint


def _read(file: IO[bytes], limit: int) -> bytes:
    file.seek(0)
    return file.read(limit)


def _end_all_of(child: "subprocess.Popen[bytes]") -> None:
    """End the program, and whatever it started and did not wait for."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
