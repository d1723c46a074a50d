"""What the ways of a request note for its trace, when it is traced; costs a look at a variable when it is not.

What becomes of the notes is in `tracing.py`.
"""

import logging
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Notes:
    """Notes about one traced request.

    Attributes:
        trace_id: Of its trace, in hexadecimal.
        rows: How many rows it had, where somebody counted them.
        engine: What computed its answer.
    """

    trace_id: str
    rows: int | None = None
    engine: str | None = None


NOTES: ContextVar[Notes | None] = ContextVar("notes", default=None)
"""The notes of the request that is being handled; `None` where it is not traced."""


def note(rows: int | None, engine: str) -> None:
    """Note how many rows a request has, and what computed its answer."""
    notes = NOTES.get()
    if notes is not None:
        notes.rows, notes.engine = rows, engine


class TraceIds(logging.Filter):
    """Adds the trace's id to log lines that are written while a traced request is handled."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything through."""
        notes = NOTES.get()
        if notes is not None and not hasattr(record, "trace_id"):
            record.trace_id = notes.trace_id
            record.msg = f"{record.msg} trace_id={notes.trace_id}"
        return True
