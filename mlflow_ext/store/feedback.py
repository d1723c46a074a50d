"""Ground truth by request id, as clients send it back. It is joined with predictions where it is read (`drift/`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DataError

from mlflow_ext.errors import InvalidInputError
from mlflow_ext.store.engine import translated
from mlflow_ext.store.tables import feedback


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """The outcome of one predicted row.

    Attributes:
        request_id: `X-Request-Id` of the answer.
        row: Position of the row in the request, from 0.
        value: What turned out to be true; any JSON value.
    """

    request_id: str
    value: Any
    row: int = 0


class Feedback:
    """The table `feedback`: one value per model, request and row; the last one sent counts."""

    def __init__(self, engine: Engine) -> None:
        """Take the database."""
        self._engine = engine

    def add(self, model: str, rows: Sequence[FeedbackRow], *, workspace: str = "default") -> int:
        """Store outcomes; sending the same again changes nothing. Gives the number of distinct rows.

        Raises:
            InvalidInputError: A value cannot be stored as JSON (NaN, infinity, a NUL character).
            UnavailableError: PostgreSQL does not answer.
        """
        # one statement may touch a row only once, so the last of equal ones is taken here
        latest = {(row.request_id, row.row): row for row in rows}
        if not latest:
            return 0
        # sorted, so that two deliveries of the same rows lock them in the same order
        values = [
            {"workspace": workspace, "model": model, "request_id": key[0], "row": key[1], "value": latest[key].value}
            for key in sorted(latest)
        ]
        add = insert(feedback)
        add = add.on_conflict_do_update(
            index_elements=[feedback.c.workspace, feedback.c.model, feedback.c.request_id, feedback.c.row],
            set_={"value": add.excluded.value, "received_at": func.clock_timestamp()},
            where=feedback.c.value.is_distinct_from(add.excluded.value),
        )
        try:
            with translated(), self._engine.begin() as connection:
                connection.execute(add, values)
        except DataError as exc:
            raise InvalidInputError(
                "a feedback value cannot be stored as JSON: NaN, infinity and NUL characters are not allowed"
            ) from exc
        return len(values)
