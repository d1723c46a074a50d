"""What runs on this data directory: the lock that `mlflow-ext up` holds, and the state file it writes for the others.

Starting and stopping what is written here is `supervisor/`'s business.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from mlflow_ext.errors import AlreadyRunningError, InvalidSettingsError

STATE_FILE = "state.json"
LOCK_FILE = "up.lock"
_PATIENCE_S = 0.5


@dataclass(frozen=True, slots=True)
class Stack:
    """A running `mlflow-ext up`.

    Attributes:
        pid: Its process.
        started_at: When it was ready, ISO 8601 in UTC.
        database_url: PostgreSQL of MLflow and of ours, with its password.
        mlflow_url: Where MLflow's server is.
        serving_url: Where the promotion service is.
        embedded: Whether PostgreSQL is one of its parts.
        parts: Process id of each part.
    """

    pid: int
    started_at: str
    database_url: str
    mlflow_url: str
    serving_url: str
    embedded: bool
    parts: dict[str, int] = field(default_factory=dict)


def state_file(data_dir: Path) -> Path:
    """Say where `up` tells the other commands what it runs."""
    return data_dir.absolute() / STATE_FILE


def make_data_dir(data_dir: Path) -> Path:
    """Make the data directory, closed to others, and give its absolute path.

    Raises:
        InvalidSettingsError: It cannot be made or written to.
    """
    directory = data_dir.absolute()
    try:
        if not directory.is_dir():
            # root's PostgreSQL runs as a system user, who has to pass through, and sees nothing on its way
            directory.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(13, "not writable by you")
    except OSError as exc:
        raise InvalidSettingsError(
            f"data directory {directory} cannot be used ({exc.strerror}): choose another one with --data-dir"
        ) from exc
    return directory.resolve()


@contextmanager
def exclusive(data_dir: Path) -> Iterator[None]:
    """Hold the data directory; the kernel lets go of it when this process ends, however it ends.

    Raises:
        AlreadyRunningError: Another `up` holds it.
    """
    lock = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as exc:
                # somebody who only looks holds it for a moment
                if time.monotonic() > end:
                    holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
                    raise AlreadyRunningError(
                        f"`mlflow-ext up` already runs on {data_dir}"
                        + (f" (process {holder})" if holder else "")
                        + ": "
                        "see `mlflow-ext status`, stop it, or choose another --data-dir"
                    ) from exc
                time.sleep(0.05)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def is_held(data_dir: Path) -> bool:
    """Tell whether an `up` holds this data directory."""
    try:
        lock = os.open(data_dir.absolute() / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def write(data_dir: Path, stack: Stack) -> None:
    """Replace the state file in one step; only its owner may read it (it holds the database's password)."""
    file = state_file(data_dir)
    fresh = file.with_suffix(".json.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        json.dump(asdict(stack), out, indent=2)
    fresh.replace(file)


def forget(data_dir: Path) -> None:
    """Remove the state file."""
    state_file(data_dir).unlink(missing_ok=True)


def find(data_dir: Path) -> Stack | None:
    """Give what runs on a data directory; `None` when nothing does, or somebody else's."""
    text = ""
    with suppress(OSError):
        text = state_file(data_dir).read_text(encoding="utf-8")
    # a state file without a holder is from an `up` that was killed
    if not text or not is_held(data_dir):
        return None
    document: dict[str, Any] = json.loads(text)
    # the next one has the directory by now, and has not removed the killed one's file yet
    if not psutil.pid_exists(document["pid"]):
        return None
    return Stack(**{name: document[name] for name in Stack.__dataclass_fields__})
