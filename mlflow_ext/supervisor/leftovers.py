"""Finding and ending processes that nobody waits for: grandchildren, orphans, and what a killed `up` left running.

Every process that `up` starts carries a mark in its environment and passes it on; it stays when the process changes its
session or loses its parent, as MLflow's job processes do.
"""

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from mlflow_ext.supervisor.child import PART_VARIABLE, STACK_VARIABLE
from mlflow_ext.supervisor.part import Part

ASK_S = 5.0
"""How long a leftover has to end by itself before it is killed."""


def of_stack(stack: Path, *, without: str | None = None) -> list[psutil.Process]:
    """Give every process on this machine that an `up` on this data directory started, but not us or our ancestors.

    Args:
        stack: The data directory.
        without: Name of a program to leave out.
    """
    us = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [
        process
        for process in psutil.process_iter()
        if process.pid not in us
        and _mark(process, STACK_VARIABLE) == str(stack)
        and (without is None or _name(process) != without)
    ]


def of_part(part: Part, pid: int | None) -> list[psutil.Process]:
    """Give our descendants that belong to a part.

    Args:
        part: The part.
        pid: Its main process, if that is still known.
    """
    found = []
    for process in psutil.Process().children(recursive=True):
        mark = _mark(process, PART_VARIABLE)
        # PostgreSQL overwrites its environment with its title, and may run as another user
        if mark == part.name or (mark is None and part.program is not None and _name(process) == part.program):
            found.append(process)
    if pid is not None:
        with suppress(psutil.NoSuchProcess):
            found += [child for child in psutil.Process(pid).children(recursive=True) if child not in found]
    return found


def end(processes: Iterable[psutil.Process], wait: Callable[[float], object], ask: int = signal.SIGTERM) -> int:
    """Ask processes to end, and kill those that do not; returns their number.

    Args:
        processes: Which ones.
        wait: Called with seconds while they end; reaps those that are our children.
        ask: First signal.
    """
    left = [process for process in processes if _alive(process)]
    number = len(left)
    for number_of_signal, patience_s in ((ask, ASK_S), (signal.SIGKILL, ASK_S)):
        for process in left:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.send_signal(number_of_signal)
        waited_s = 0.0
        while left and waited_s < patience_s:
            wait(0.05)
            waited_s += 0.05
            left = [process for process in left if _alive(process)]
    return number


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _mark(process: psutil.Process, variable: str) -> str | None:
    try:
        return process.environ().get(variable)
    except (psutil.Error, OSError, ValueError):
        return None


def _name(process: psutil.Process) -> str | None:
    try:
        name: str = process.name()
    except psutil.Error:
        return None
    return name
