"""One living process of a part: started so that it cannot outlive us unseen, and its output read."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mlflow_ext.supervisor.part import Part

STACK_VARIABLE = "_MLFLOW_EXT_STACK"
"""In the environment of everything that `up` starts, down to the last grandchild: its data directory."""
PART_VARIABLE = "_MLFLOW_EXT_PART"
"""Beside it: the part's name."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make grandchildren whose parent died children of this process, where they are found (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(part: Part, stack: Path) -> "subprocess.Popen[bytes]":
    """Start the part's process in a session of its own, its output in a pipe that does not block.

    Raises:
        OSError: The program cannot be started.
    """
    environment = {name: value for name, value in os.environ.items() if name not in part.without}
    environment |= {**part.environment, STACK_VARIABLE: str(stack), PART_VARIABLE: part.name, "PYTHONUNBUFFERED": "1"}
    user = part.user
    process = subprocess.Popen(
        part.command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Ctrl-C in the terminal is ours alone, so that the order of stopping is ours as well
        start_new_session=True,
        env=environment,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
        # safe here: this process has one thread
        preexec_fn=_die_with(os.getpid(), part.stop_signal),
    )
    if process.stdout is None:
        raise OSError("the process has no output pipe")
    os.set_blocking(process.stdout.fileno(), False)
    return process


def _die_with(parent: int, ask: signal.Signals) -> Callable[[], None] | None:
    """Let the kernel ask the child to end when we are killed without a chance to do so ourselves (Linux only)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, int(ask), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return arrange
