"""The writing side of the prediction log, never in an answer's way. The file format lives in `mlflow_ext.spool`."""

import logging
import time
from collections.abc import Callable

from mlflow_ext.errors import InvalidInputError, UnavailableError
from mlflow_ext.spool import PredictionRecord, SpoolWriter
from serving.metrics import Metrics

logger = logging.getLogger(__name__)

COMPLAIN_EVERY_S = 60.0


class PredictionLog:
    """Appends predictions to the spool; what cannot be written is counted, and complained about once a minute."""

    def __init__(
        self, writer: SpoolWriter, metrics: Metrics, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the spool of this process."""
        self._writer = writer
        self._metrics = metrics
        self._monotonic = monotonic
        self._complain_at = float("-inf")
        self._lost = 0

    def append(self, model: str, *records: PredictionRecord) -> bool:
        """Write predictions of one model; False means that they were lost, which must not stop their answers."""
        try:
            self._writer.append(*records)
        except (UnavailableError, InvalidInputError) as exc:
            self._metrics.spool_lost.labels(model).inc(len(records))
            self._complain(exc, len(records))
            return False
        self._metrics.spool_records.labels(model).inc(len(records))
        return True

    def close(self) -> None:
        """Finish the present file."""
        self._writer.close()

    def _complain(self, exc: Exception, lost: int) -> None:
        self._lost += lost
        now = self._monotonic()
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_EVERY_S
            logger.error("event=predictions_lost since_start=%d reason=%r", self._lost, str(exc))
