"""How many scoring requests wait to be computed, measured now and then: nothing is counted on a request's way.

They wait in two places: for the batch before theirs (`batcher.py`), and for their turn at a model host
(`model_host.py`). Requests of plans that compute on the event loop wait in neither.
"""

from serving.batcher import Batcher
from serving.metrics import Metrics
from serving.pool import Pool


class Pending:
    """Sets the metric of what waits in this process."""

    def __init__(self, pool: Pool, batcher: Batcher, metrics: Metrics) -> None:
        """Take where requests wait."""
        self._pool = pool
        self._batcher = batcher
        self._metrics = metrics
        self._seen: set[str] = set()

    def measure(self) -> None:
        """Set the metric; any thread may call it."""
        waiting = self._batcher.pending()
        for loaded in self._pool.loaded():
            waiting[loaded.model] += loaded.host.pending
        # a model that is gone has nothing that waits
        self._seen.update(waiting)
        for model in list(self._seen):
            self._metrics.pending.labels(model).set(waiting[model])
