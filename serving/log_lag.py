"""How far the prediction log's reading side is behind: the age of the oldest prediction that is in no segment yet.

The spool says when predictions were made, PostgreSQL how far each of its files has been taken in. Every scoring process
measures the same spool; the latest measurement counts.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prometheus_client import Gauge

from mlflow_ext.errors import UnavailableError
from mlflow_ext.spool import first_at, spool_files

logger = logging.getLogger(__name__)

LOOK_S = 5.0


class LogLag:
    """Measures from `start` to `stop`, on a thread of its own."""

    def __init__(
        self,
        spool: Path,
        offsets: Callable[[Sequence[str]], Mapping[str, int]],
        gauge: Gauge,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take what to measure.

        Args:
            spool: The spool's directory.
            offsets: By name of a spool file, up to which byte it is in segments.
            gauge: Is set to the lag, in seconds.
            clock: Seconds since 1970.
        """
        self._spool = spool
        self._read_offsets = offsets
        self._gauge = gauge
        self._clock = clock
        self._offsets: Mapping[str, int] | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-lag", daemon=True)

    def start(self) -> None:
        """Begin to measure."""
        self._thread.start()

    def stop(self) -> None:
        """End measuring."""
        self._stopped.set()
        self._thread.join(5)

    def measure(self) -> None:
        """Measure once; while PostgreSQL is away, by what it said last, since nobody reads the spool meanwhile."""
        files = spool_files(self._spool)
        try:
            self._offsets = self._read_offsets([file.name for file in files])
        except UnavailableError as exc:
            logger.debug("event=offsets_not_read reason=%r", str(exc))
        # before it has said anything, nothing is known
        if self._offsets is None:
            return
        oldest = float("inf")
        for file in files:
            try:
                at = first_at(file, self._offsets.get(file.name, 0))
            except OSError:
                # taken in and removed meanwhile
                continue
            if at is not None:
                oldest = min(oldest, at.timestamp())
        self._gauge.set(max(0.0, self._clock() - oldest))

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_S):
            try:
                self.measure()
            # one look that fails must not end the thread
            except Exception:
                logger.exception("event=log_lag_not_measured")
