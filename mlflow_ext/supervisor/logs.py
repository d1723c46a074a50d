"""A process's output as lines in a file of bounded size, each with its time and the process's name."""

import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

MAX_BYTES = 10_000_000
KEPT_FILES = 3
_LONGEST_LINE = 65_536

Copy = Callable[[str, str], None]


def log_path(directory: Path, name: str) -> Path:
    """Say where a process's output goes."""
    return directory / f"{name}.log"


class LineLog:
    """Takes bytes as they come, writes whole lines."""

    def __init__(self, directory: Path, name: str, copy: Copy | None = None) -> None:
        """Open the file for appending.

        Args:
            directory: Where the log files are; made when missing, for the owner only.
            name: Name of the process.
            copy: Takes name and line as well, for people who watch.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._name = name
        self._copy = copy
        self._rest = b""
        self._last: deque[str] = deque(maxlen=15)
        self._handler = RotatingFileHandler(
            log_path(directory, name), maxBytes=MAX_BYTES, backupCount=KEPT_FILES, encoding="utf-8", errors="replace"
        )

    def feed(self, data: bytes) -> None:
        """Take output; the last, unfinished line waits for its end (or for becoming too long)."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._write(line)

    def note(self, text: str) -> None:
        """Write a line of the supervisor's own, between those of the process."""
        self._emit(f"[{text}]")

    def last_lines(self) -> list[str]:
        """Give the last lines, for an error message."""
        return [*self._last]

    def close(self) -> None:
        """Write what is left and close the file."""
        if self._rest:
            self._write(self._rest)
            self._rest = b""
        self._handler.close()

    def _write(self, raw: bytes) -> None:
        line = raw.decode("utf-8", errors="replace").rstrip("\r")
        if not line.strip():
            return
        self._last.append(line)
        self._emit(line)
        if self._copy is not None:
            self._copy(self._name, line)

    def _emit(self, line: str) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._handler.emit(logging.makeLogRecord({"msg": f"{at} {self._name} | {line}"}))
