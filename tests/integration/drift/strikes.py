"""The fault points of a check's life, from its slot to its MLflow run, and how a process is struck at one.

The product holds none of this. A process of the sweep (`nursery.py`) wraps the functions at whose edge a point lies;
the first that comes by the point that is ordered takes the order, notes it, and kills or stops itself right there.
"""

import contextlib
import functools
import importlib
import json
import os
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = "STRIKES_DIRECTORY"
"""Variable that arms a process: where orders are given and strikes are noted."""
_ORDER = "order"
_NOTE = "struck"
_CHILD = "child-"


@dataclass(frozen=True, slots=True)
class Point:
    """One boundary.

    Attributes:
        name: What has just happened, or is about to.
        at: `module:function` or `module:Class.method` at whose edge it lies.
        after: Whether it lies behind the call, where that gave something other than `None` or False; else before.
        always: It is passed whatever the call gave.
    """

    name: str
    at: str
    after: bool = True
    always: bool = False


_CHECKS = "mlflow_ext.store.checks:Checks"
_RUNS = "mlflow_ext.registry.drift_runs:DriftRuns"
POINTS = (
    Point("slot entered, in the transaction", "mlflow_ext.store.schedules:add_check"),
    Point("claimed, not yet told", "mlflow_ext.store.lease:LeaseTable.claim"),
    Point("claimed", f"{_CHECKS}.claim"),
    Point("computed, not stored", f"{_CHECKS}.computed", after=False),
    Point("storing, in the transaction", "mlflow_ext.store.checks:note_verdict", after=False),
    Point("stored", f"{_CHECKS}.computed", always=True),
    Point("delivery claimed", f"{_CHECKS}.claim_delivery"),
    Point("run looked for, not begun", f"{_RUNS}._begin", after=False),
    Point("run begun", f"{_RUNS}._begin"),
    Point("run half written", f"{_RUNS}._log_artifacts", after=False),
    Point("run written", f"{_RUNS}.deliver"),
    Point("delivery not yet noted", f"{_CHECKS}.delivered", after=False),
)


@dataclass(frozen=True, slots=True)
class Struck:
    """A strike that happened.

    Attributes:
        pid: Process.
        owner: Under whose name it held what it held; empty for a scheduler itself.
        at: When, by the machine's monotonic clock.
    """

    pid: int
    owner: str
    at: float


def order(directory: Path, point: str, effect: str) -> None:
    """Let the next process that comes by a point be killed (`SIGKILL`) or stopped (`SIGSTOP`)."""
    partial = directory / f".{_ORDER}"
    partial.write_text(json.dumps([point, effect]), encoding="utf-8")
    partial.rename(directory / _ORDER)


def taken(directory: Path) -> Struck | None:
    """Give the strike that was ordered, once it has happened; after that another may be ordered."""
    note = directory / _NOTE
    if not note.exists():
        return None
    found = Struck(*json.loads(note.read_text(encoding="utf-8")))
    note.unlink()
    return found


def withdrawn(directory: Path) -> bool:
    """Take an order back; False when it is being carried out."""
    try:
        (directory / _ORDER).unlink()
    except FileNotFoundError:
        return False
    return True


def children(directory: Path, scheduler: int) -> list[int]:
    """Give the process ids of a scheduler's children, dead ones among them."""
    named = {int(file.name.removeprefix(_CHILD)): file.read_text() for file in directory.glob(f"{_CHILD}*")}
    return [pid for pid, owner in named.items() if scheduler_of(owner) == scheduler]


def scheduler_of(owner: str) -> int:
    """Give the process id of the scheduler whose name this is."""
    return int(owner.split(":")[1])


def arm(owner: str) -> None:
    """Wrap the functions at whose edges the points lie, if the environment names a directory of orders."""
    if DIRECTORY not in os.environ:
        return
    directory = Path(os.environ[DIRECTORY])
    if owner:
        (directory / f"{_CHILD}{os.getpid()}").write_text(owner, encoding="utf-8")
    for point in POINTS:
        module, _, path = point.at.partition(":")
        holder: Any = importlib.import_module(module)
        *parents, attribute = path.split(".")
        for parent in parents:
            holder = getattr(holder, parent)
        setattr(holder, attribute, _wrapped(getattr(holder, attribute), point, owner, directory))


def _wrapped(function: Callable[..., Any], point: Point, owner: str, directory: Path) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not point.after:
            _strike(point, owner, directory)
        result = function(*args, **kwargs)
        if point.after and (result or point.always):
            _strike(point, owner, directory)
        return result

    return call


def _strike(point: Point, owner: str, directory: Path) -> None:
    mine = directory / f".taken-{os.getpid()}-{secrets.token_hex(4)}"
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        if json.loads((directory / _ORDER).read_text(encoding="utf-8"))[0] != point.name:
            return
        # of several that come by at once, one can
        (directory / _ORDER).rename(mine)
        effect = json.loads(mine.read_text(encoding="utf-8"))[1]
        mine.write_text(json.dumps([os.getpid(), owner, time.monotonic()]), encoding="utf-8")
        mine.rename(directory / _NOTE)
        os.kill(os.getpid(), signal.Signals[effect])
