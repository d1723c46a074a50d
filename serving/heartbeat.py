"""Tells everybody what this scoring process serves: the row in `mlflow_ext.replica`, renewed every few seconds."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from mlflow_ext.errors import UnavailableError
from mlflow_ext.store.replicas import BEAT_S, Replicas, new_replica_id
from serving.pool import Pool
from serving.prediction_log import PredictionLog

logger = logging.getLogger(__name__)


class Heartbeat:
    """Announces a scoring process from `start` to `stop`; without PostgreSQL it tries again at the next beat."""

    def __init__(self, replicas: Replicas, url: str, state: Callable[[], dict[str, Any]]) -> None:
        """Take where to announce, the address that clients use, and what gives the present state."""
        self._replicas = replicas
        self._url = url
        self._state = state
        self._id = new_replica_id()
        self._announced = False
        self._news = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def changed(self) -> None:
        """Tell the new state at once instead of at the next beat."""
        self._news.set()

    def stop(self) -> None:
        """Say goodbye."""
        self._stopped.set()
        self._news.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._news.clear()
            try:
                self._announced = self._announced and self._replicas.beat(self._id, self._state())
                if not self._announced:
                    self._replicas.announce(self._id, "scoring", self._url, self._state())
                    self._announced = True
            except UnavailableError as exc:
                logger.warning("event=heartbeat_failed reason=%r", str(exc))
            self._news.wait(BEAT_S)
        try:
            self._replicas.leave(self._id)
        except UnavailableError as exc:
            logger.warning("event=goodbye_failed reason=%r", str(exc))


def state_of(pool: Pool, log: PredictionLog) -> dict[str, Any]:
    """Give what is served, by model: `version`, `generation`, `since`, and `failed` (reason by version) if any.

    What the prediction log has lost of a model stands beside it as `log`.
    """
    state: dict[str, Any] = {}
    for model in pool.models():
        champion, failures, lost = pool.serving(model), pool.failures(model), log.state(model)
        if champion is None and not failures and lost is None:
            continue
        state[model] = {
            "version": champion.loaded.version if champion else None,
            "generation": champion.generation if champion else None,
            "since": champion.since.isoformat() if champion else None,
        }
        if failures:
            state[model]["failed"] = {str(number): why.reason for number, why in sorted(failures.items())}
        if lost is not None:
            state[model]["log"] = lost
    return state
