"""Who acts: the name that the audit trail writes beside a change, and by which way it came.

A process says once who it is; a request or a command may say otherwise for as long as it lasts. How MLflow's server
learns who calls it is in `registry/agreement.py` (the header) and `plugins/callers.py` (the server's side).
"""

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

ACTOR_SETTING = "mlflow_ext.actor"
"""Setting of a transaction that changes the registry: who does it. Our registry store sets it, the trigger reads it."""
SOURCE_SETTING = "mlflow_ext.source"
"""The same for the way it came."""


class Source(StrEnum):
    """By which way a change came."""

    UI = "ui"
    API = "api"
    PYTHON = "python"
    CLI = "cli"
    REST = "rest"
    ROBOT = "robot"
    SQL = "sql"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and by which way.

    Attributes:
        name: `alice` (MLflow's user), `cli:alice@host`, `robot:promotion-worker`, `sql:dbuser` …
        source: By which way.
    """

    name: str
    source: Source

    def __str__(self) -> str:
        """Write both as one line, for a header."""
        return f"{self.source.value} {self.name}"

    @classmethod
    def parse(cls, line: str) -> "Actor | None":
        """Read what `str` wrote; `None` for anything else.

        A name that was not proven has its source before it: nobody becomes `alice` by saying so.
        """
        source, _, name = line.partition(" ")
        known = {one.value for one in Source} - {Source.SQL.value}
        return cls(name, Source(source)) if source in known and name.startswith(f"{source}:") else None


PROMOTION_WORKER = Actor("robot:promotion-worker", Source.ROBOT)
DRIFT_SCHEDULER = Actor("robot:drift-scheduler", Source.ROBOT)

_ACTING: ContextVar[Actor | None] = ContextVar("acting", default=None)
_process: list[Actor] = []


def act_as(actor: Actor) -> None:
    """Say who this process is, in all its threads, unless `acting_as` says otherwise."""
    _process[:] = [actor]


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """Say who acts inside, in this thread or task."""
    token = _ACTING.set(actor)
    try:
        yield
    finally:
        _ACTING.reset(token)


def acting() -> Actor:
    """Name who acts here and now: by default whoever runs this Python process."""
    return _ACTING.get() or (_process[0] if _process else local_actor(Source.PYTHON))


def local_actor(source: Source) -> Actor:
    """Name the user of this machine."""
    return Actor(f"{source.value}:{user_name()}@{socket.gethostname()}", source)


def user_name() -> str:
    """Name whoever runs this process."""
    try:
        return os.environ.get("MLFLOW_EXT_ACTOR") or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"
