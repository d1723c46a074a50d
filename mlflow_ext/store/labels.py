"""Ground truth that came back, as drift and retraining read it. How it arrives: `feedback.py`."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, select

from mlflow_ext.store.engine import translated
from mlflow_ext.store.tables import feedback

_AT_ONCE = 5_000


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
        wanted = sorted(set(request_ids))
        row = feedback.c
        labels: dict[tuple[str, int], Any] = {}
        with translated(), self._engine.connect() as connection:
            for begin in range(0, len(wanted), _AT_ONCE):
                some = wanted[begin : begin + _AT_ONCE]
                chosen = select(row.request_id, row.row, row.value).where(
                    row.model == model, row.request_id.in_(some), row.value.is_not(None)
                )
                labels.update({(one.request_id, one.row): one.value for one in connection.execute(chosen)})
        return labels
