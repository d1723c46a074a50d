"""What is supervised: the description of one process, without the process. Living ones are in `child.py`."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mlflow_ext.passage import SystemUser


def _always() -> bool:
    return True


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Part:
    """One process to run.

    Attributes:
        name: Short name, also that of its log file.
        command: Program and arguments.
        environment: Variables over those of the supervisor.
        without: Variables of the supervisor that it does not get.
        is_ready: Asked again and again after the start, until it says yes; must answer within seconds.
        ready_within_s: After this long it counts as failed.
        prepare: Called before each start.
        stop_signal: What asks it to end in order.
        stop_within_s: After this long it is killed.
        once: It ends by itself with code 0, and counts as ready then (`is_ready` is asked once more).
        user: Whom it runs as; `None` means whoever we are.
        niceness: How much it gives way to all else: 0 (not) to 19.
        program: Name by which its processes are known even where their environment cannot be read.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    is_ready: Callable[[], bool] = _always
    ready_within_s: float = 180.0
    prepare: Callable[[], object] = _nothing
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_s: float = 20.0
    once: bool = False
    user: SystemUser | None = None
    niceness: int = 0
    program: str | None = None
