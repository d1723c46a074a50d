"""Long computations that others on the same machine, scoring above all, must not feel."""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

_TRIES = 5
_AGAIN_S = 0.15
"""Linux takes one change of a group's priority each tenth of a second."""


def give_way(pid: int, niceness: int) -> None:
    """Let a process that leads a session of its own, and whatever it starts, compute less while others want to.

    Where Linux groups processes by session (autogroup, usual on desktops and servers), a process's niceness counts in
    its session only; the group's own is what others feel.

    Args:
        pid: The process; nothing happens when it has ended already.
        niceness: 0 (as all others) to 19 (nearly only when nobody else computes).
    """
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
        if sys.platform == "linux" and os.getsid(pid) == pid:
            _group(Path(f"/proc/{pid}/autogroup"), niceness)


def _group(file: Path, niceness: int) -> None:
    for _ in range(_TRIES):
        try:
            file.write_text(f"{niceness}")
        except BlockingIOError:
            time.sleep(_AGAIN_S)
        # a kernel without it, or a container that may not: its niceness is all there is
        except OSError:
            return
        else:
            return
