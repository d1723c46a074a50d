"""Ground truth that came back, as drift and retraining read it. How it arrives: `feedback.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, select

from mlflow_ext.store.engine import reading
from mlflow_ext.store.tables import feedback

_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Label:
    """What a row turned out to be.

    Attributes:
        value: Any JSON value but null.
        received_at: When it came, or was corrected.
    """

    value: Any
    received_at: datetime


class Labels:
    """The table `feedback`, read by request."""

    def __init__(self, engine: Engine) -> None:
        """Take the database."""
        self._engine = engine

    def of(self, model: str, request_ids: Sequence[str]) -> dict[tuple[str, int], Any]:
        """Give the known labels of some requests.

        Args:
            model: Registered model.
            request_ids: Requests; repeats are fine.

        Returns:
            Label by request id and row.

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        return {key: one.value for key, one in self.received(model, request_ids).items()}

    def received(self, model: str, request_ids: Sequence[str]) -> dict[tuple[str, int], Label]:
        """Give the known labels of some requests with the time they came; see `of`."""
        wanted = sorted(set(request_ids))
        row = feedback.c
        labels: dict[tuple[str, int], Label] = {}
        with reading(self._engine) as connection:
            for begin in range(0, len(wanted), _AT_ONCE):
                some = wanted[begin : begin + _AT_ONCE]
                chosen = select(row.request_id, row.row, row.value, row.received_at).where(
                    row.model == model, row.request_id.in_(some), row.value.is_not(None)
                )
                for one in connection.execute(chosen):
                    labels[one.request_id, one.row] = Label(one.value, one.received_at)
        return labels
