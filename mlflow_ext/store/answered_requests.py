"""Requests that were answered, by the key that their caller gave them: the same request again gets the same answer.

Two deliveries at once wait for each other on an advisory lock. What a request is about to do is written down before it
does it, so that a second try after a crash can see what the first one meant.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select, text, update

from mlflow_ext.errors import ConflictError
from mlflow_ext.store.decision_tables import answered_request as table
from mlflow_ext.store.engine import translated

Document = dict[str, Any]
"""Ready for JSON."""

_KEPT = text("interval '7 days'")
_PATIENCE = text("SET LOCAL idle_in_transaction_session_timeout = '60s'")
"""MLflow may be slow to answer while a request is acted on."""
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:caller || chr(10) || :key, 0))")


class AnsweredRequests:
    """Answers in `mlflow_ext.answered_request`, kept for seven days."""

    def __init__(self, engine: Engine) -> None:
        """Take the database."""
        self._engine = engine

    def once(
        self, caller: str, key: str, fingerprint: str, plan: Callable[[], Document], act: Callable[[Document], Document]
    ) -> tuple[Document, bool]:
        """Answer a request once.

        Args:
            caller: Whose key it is.
            key: The request's key, the caller's own.
            fingerprint: Digest of everything that the request says.
            plan: Says what is about to be done; its answer is kept before anything is.
            act: Does it; given the plan of the first try, and able to be done again after a crash.

        Returns:
            The answer, and whether it was given before.

        Raises:
            ConflictError: The key belongs to another request.
            UnavailableError: PostgreSQL does not answer, or the same request takes too long elsewhere.
        """
        with translated(), self._engine.begin() as connection:
            connection.execute(_PATIENCE)
            connection.execute(_LOCK, {"caller": caller, "key": key})
            mine = (table.c.caller == caller) & (table.c.key == key)
            known = connection.execute(select(table).where(mine)).mappings().one_or_none()
            if known is not None and known["fingerprint"] != fingerprint:
                raise ConflictError(f"the Idempotency-Key {key!r} was used for another request; take a new one")
            if known is not None and known["answer"] is not None:
                return dict(known["answer"]), True
            planned = dict(known["plan"]) if known is not None else plan()
            if known is None:
                # a transaction of its own: it has to outlive a crash of this one
                with self._engine.begin() as other:
                    _forget_old(other)
                    other.execute(insert(table).values(caller=caller, key=key, fingerprint=fingerprint, plan=planned))
            answer = act(planned)
            connection.execute(update(table).where(mine).values(answer=answer))
            return answer, False


def _forget_old(connection: Connection) -> None:
    connection.execute(delete(table).where(table.c.at < func.clock_timestamp() - _KEPT))
