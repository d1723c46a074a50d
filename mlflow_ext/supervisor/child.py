"""One living process of a part: started so that it cannot outlive us unseen, and its output read."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from mlflow_ext.giving_way import give_way
from mlflow_ext.parent_death import dying_with_us
from mlflow_ext.supervisor.part import Part

STACK_VARIABLE = "_MLFLOW_EXT_STACK"
"""In the environment of everything that `up` starts, down to the last grandchild: its data directory."""
PART_VARIABLE = "_MLFLOW_EXT_PART"
"""Beside it: the part's name."""
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
        preexec_fn=dying_with_us(part.stop_signal),
    )
    give_way(process.pid, part.niceness)
    if process.stdout is None:
        raise OSError("the process has no output pipe")
    os.set_blocking(process.stdout.fileno(), False)
    return process
