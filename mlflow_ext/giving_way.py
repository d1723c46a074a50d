"""Who goes first on a busy machine: scoring, before long computations that nobody should feel."""

import ctypes
import os
import platform
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

_TRIES = 5
_AGAIN_S = 0.15
"""Linux takes one change of a group's priority each tenth of a second."""
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""Number of the system call by machine; Python, and C libraries before glibc 2.41, have no function for it."""
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""`struct sched_attr`, first version: size, policy, flags, nice, priority, runtime, deadline, period."""
_YIELDING_NS = 20_000_000
_PROMPT_NS = 500_000
"""Slices of time. Who wakes up and wants shorter ones than whoever computes goes before it at once."""


def give_way(pid: int, niceness: int) -> None:
    """Let a process that leads a session of its own, and whatever it starts, compute less while others want to.

    Where Linux groups processes by session (autogroup, usual on desktops and servers), a process's niceness counts in
    its session only; the group's own is what others feel. Since Linux 6.12 a process may ask for long slices of time,
    so that whoever wakes up beside it comes first, and does not wait for some milliseconds. And all who give way keep
    off the first of several processors, unless somebody has said already which ones they may use.

    Args:
        pid: The process, before it has begun threads; nothing happens when it has ended already.
        niceness: 0 (as all others; nothing is changed) to 19 (nearly only when nobody else computes).
    """
    if niceness == 0:
        return
    with suppress(ProcessLookupError):
        # whoever has begun it may be nice already; only root may take that back
        os.setpriority(os.PRIO_PROCESS, pid, max(niceness, os.getpriority(os.PRIO_PROCESS, pid)))
        if sys.platform == "linux":
            _take_slices(pid, _YIELDING_NS)
            _leave_a_processor(pid)
            if os.getsid(pid) == pid:
                _group(Path(f"/proc/{pid}/autogroup"), niceness)


def give_way_here(more: int) -> None:
    """Let this thread, and those that it begins, compute less than the rest of its session; those begun elsewhere not.

    They keep off the first of several processors, as in `give_way`.

    Args:
        more: How much nicer than it is: what a service that is nice itself begins must not go before it. 0: nothing is
            changed.
    """
    if sys.platform == "linux" and more:
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + more))
        _take_slices(thread, _YIELDING_NS)
        _leave_a_processor(thread)


def session_gives_way(niceness: int, *, tries: int = _TRIES) -> None:
    """Let the session that this process leads, if it leads one, compute less than other sessions.

    Args:
        niceness: 0 (as all others; takes back what was said before) to 19.
        tries: How often to try where Linux just took another change; a later one waits.
    """
    if sys.platform == "linux" and os.getsid(0) == os.getpid():
        _group(Path("/proc/self/autogroup"), niceness, tries)


def be_prompt() -> None:
    """Let this thread, and those that it begins, come soon after they wake up, before others of the same niceness.

    They take shorter slices of time in return (Linux 6.12 and newer; nothing happens elsewhere).
    """
    if sys.platform == "linux":
        _take_slices(threading.get_native_id(), _PROMPT_NS)


def _take_slices(pid: int, length_ns: int) -> None:
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None:
        return
    nice = os.getpriority(os.PRIO_PROCESS, pid)
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, length_ns, 0, 0)
    # an older kernel knows no slices, a container may not ask for them: its niceness is all there is
    ctypes.CDLL(None).syscall(number, pid, ctypes.create_string_buffer(attributes, len(attributes)), 0)


def _leave_a_processor(pid: int) -> None:
    processors = os.sched_getaffinity(pid)
    # fewer than there are: whoever began it gives way as well, or somebody has chosen
    if len(processors) == os.cpu_count() and len(processors) > 1:
        # a container that may not: its niceness is all there is
        with suppress(PermissionError):
            os.sched_setaffinity(pid, processors - {min(processors)})


def _group(file: Path, niceness: int, tries: int = _TRIES) -> None:
    for left in reversed(range(tries)):
        try:
            file.write_text(f"{niceness}")
        except BlockingIOError:
            time.sleep(_AGAIN_S if left else 0)
        # a kernel without it, or a container that may not: its niceness is all there is
        except OSError:
            return
        else:
            return
