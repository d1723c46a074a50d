"""How much the spool may hold: bounded by its own size and by what must stay free on the disk.

What is written lives in `spool.py`; what the loss of a prediction means, in `serving/prediction_log.py`.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlflow_ext.errors import UnavailableError

MOST_STEP_BYTES = 1024 * 1024
"""A writer looks at the disk again after so many bytes: a look costs as much as some ten predictions."""
MOST_FILE_BYTES = 64 * 1024 * 1024
LOOK_S = 1.0
"""Seconds between two looks while there is no room."""


class SpoolFullError(UnavailableError):
    """The spool holds as much as it may; the compactor makes room."""


@dataclass(frozen=True, slots=True)
class SpoolBounds:
    """What the spool may take of a disk.

    Attributes:
        max_bytes: The most that all its files hold together.
        min_free_bytes: The least that stays free on its disk.
        writers: Number of processes that write at the same time.
    """

    max_bytes: int
    min_free_bytes: int
    writers: int = 1

    @property
    def step_bytes(self) -> int:
        """What one writer may write between two looks; all together they do not pass `max_bytes`."""
        return min(MOST_STEP_BYTES, self.max_bytes // (4 * self.writers))

    @property
    def file_bytes(self) -> int:
        """Size at which a file is finished: only finished files can go, so the open ones must not fill the spool."""
        return min(MOST_FILE_BYTES, self.max_bytes // (4 * self.writers))


class SpoolRoom:
    """Says of each write whether there is room for it; one a writer, whose lock guards it."""

    def __init__(
        self, directory: Path, bounds: SpoolBounds, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the spool's directory and its bounds."""
        self.bounds = bounds
        self._directory = directory
        self._monotonic = monotonic
        self._granted = 0
        self._why: str | None = None
        self._look_at = float("-inf")

    def refusal(self, size: int) -> str | None:
        """Say why `size` bytes may not be written; `None` when they may, which takes them from what is left."""
        if size <= self._granted:
            self._granted -= size
            return None
        now = self._monotonic()
        if self._why is not None and now < self._look_at:
            return self._why
        self._look_at = now + LOOK_S
        self._granted = 0
        bounds = self.bounds
        used, free = held_bytes(self._directory), free_bytes(self._directory)
        # what other writers may still write without looking is not there to be given
        promised = (bounds.writers - 1) * bounds.step_bytes
        room = min(bounds.max_bytes - used, free - bounds.min_free_bytes) - promised
        step = bounds.step_bytes
        if size > (room if size <= step else room // bounds.writers):
            if free - bounds.min_free_bytes < bounds.max_bytes - used:
                self._why = f"{free} bytes are free on the disk, {bounds.min_free_bytes} stay free"
            else:
                self._why = f"the spool holds {used} bytes of {bounds.max_bytes}"
            return self._why
        self._why = None
        self._granted = max(0, min(step, room) - size)
        return None


def held_bytes(directory: Path) -> int:
    """Add up the sizes of the files of a spool; 0 when it does not exist."""
    total = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    total += entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    # the compactor was faster
                    continue
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return total


def free_bytes(directory: Path) -> int:
    """Give the bytes that are free on the disk of a directory, or of the nearest one above it that exists."""
    for place in (directory, *directory.parents):
        try:
            found = os.statvfs(place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        return found.f_bavail * found.f_frsize
    return 0
