"""How a write says who makes it, and in whose stead, from our process to the triggers in PostgreSQL.

A write of an agreement is no person's word: when it comes late, after a person has moved a mark again, it must not
outrank them.
The client sends a header (`plugins/request_headers.py`), our registry store turns it into a setting of its transaction,
and the trigger notes it on the event. A server without our store ignores it, and the write counts as anybody's.
In the same way a promotion's move to Production names the claim under which it is made: a worker that was stopped and
wakes up late must not move anything any more.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

HEADER = "X-Mlflow-Ext-Agreement"
ACTOR_HEADER = "X-Mlflow-Ext-Actor"
"""Who makes the request, as `str(Actor)`, percent-encoded; a claim, unless MLflow knows its users."""

CLAIM_HEADER = "X-Mlflow-Ext-Claim"
"""The promotion for which a version is moved, and the attempt under which it was claimed: `12/1`."""

_CLAIM: ContextVar[str | None] = ContextVar("claim", default=None)
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


@contextmanager
def claiming(promotion_id: int, attempt: int) -> Iterator[None]:
    """Let the moves inside, in this thread, be made only while this claim holds."""
    token = _CLAIM.set(f"{promotion_id}/{attempt}")
    try:
        yield
    finally:
        _CLAIM.reset(token)


def claim() -> str | None:
    """Give the claim under which this thread writes, if it does."""
    return _CLAIM.get()
