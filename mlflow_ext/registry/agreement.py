"""How a write says who makes it, and that it only makes marks agree, from our process to the trigger in PostgreSQL.

A write of an agreement is no person's word: when it comes late, after a person has moved a mark again, it must not
outrank them.
The client sends a header (`plugins/request_headers.py`), our registry store turns it into a setting of its transaction,
and the trigger notes it on the event. A server without our store ignores it, and the write counts as anybody's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

HEADER = "X-Mlflow-Ext-Agreement"
ACTOR_HEADER = "X-Mlflow-Ext-Actor"
"""Who makes the request, as `str(Actor)`, percent-encoded; a claim, unless MLflow knows its users."""

_AGREEING: ContextVar[bool] = ContextVar("agreeing", default=False)


@contextmanager
def agreeing() -> Iterator[None]:
    """Mark the writes inside, in this thread."""
    token = _AGREEING.set(True)
    try:
        yield
    finally:
        _AGREEING.reset(token)


def is_agreeing() -> bool:
    """Tell whether this thread's writes bring marks into agreement."""
    return _AGREEING.get()
