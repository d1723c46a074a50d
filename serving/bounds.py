"""How much one request may ask of the service once its bytes are there: rows, and depth of its JSON.

Bytes are bounded in `web.py`, connections in `connection.py`, requests at a time in `admission.py`.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlflow_ext.config import Settings
from mlflow_ext.errors import InvalidInputError
from serving.compression import TooLargeError

_ESCAPES = re.compile(rb"\\.", re.DOTALL)
_STRINGS = re.compile(rb'"[^"]*"')
_STRUCTURE = b'[]{}"'
_REST = bytes(byte for byte in range(256) if byte not in _STRUCTURE)
_STEP = np.zeros(256, dtype=np.int8)
_STEP[[*b"[{"]] = 1
_STEP[[*b"]}"]] = -1


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of one request.

    Attributes:
        max_rows: Most rows that a request may hold.
        max_json_depth: Most levels of lists and objects in each other.
    """

    max_rows: int = 100_000
    max_json_depth: int = 64

    @classmethod
    def of(cls, settings: Settings) -> "Bounds":
        """Take the bounds of the settings."""
        return cls(settings.max_rows, settings.max_json_depth)

    def check_rows(self, rows: int) -> None:
        """Refuse too many rows.

        Raises:
            TooLargeError: There are more than allowed.
        """
        if rows > self.max_rows:
            raise TooLargeError(f"the request has {rows} rows, more than {self.max_rows} (setting max_rows)")

    def check_json(self, text: bytes) -> None:
        """Refuse JSON that is nested too deeply, before anything parses it. Whether it is JSON at all, parsers say.

        Raises:
            InvalidInputError: It is deeper than allowed.
        """
        # this few brackets cannot nest any deeper
        if text.count(b"[") + text.count(b"{") <= self.max_json_depth:
            return
        if depth_of(text) > self.max_json_depth:
            raise InvalidInputError(
                f"the request's JSON is nested deeper than {self.max_json_depth} levels (setting max_json_depth)"
            )


DEFAULT = Bounds()


def depth_of(text: bytes) -> int:
    """Give how deeply lists and objects of a JSON text lie in each other, without parsing it."""
    if b"\\" in text:
        text = _ESCAPES.sub(b"", text)
    brackets = _STRINGS.sub(b"", text.translate(None, _REST))
    levels = np.cumsum(_STEP[np.frombuffer(brackets, np.uint8)], dtype=np.int64)
    return int(levels.max(initial=0))


def rows_of(data: Any) -> int:
    """Count the rows of what MLflow's parsers make: a data frame, an array, a list, or a dictionary of these."""
    if isinstance(data, dict):
        return max((rows_of(one) for one in data.values()), default=0)
    shape = getattr(data, "shape", None)
    if shape is not None:
        return int(shape[0]) if shape else 1
    return len(data) if isinstance(data, list) else 1
