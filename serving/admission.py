"""How many scoring requests are in a process at once: one more is sent away, rather than all of them made slow.

Counted from before the body on, so that waiting requests are bounded in memory too. The way in is in `web.py`; how one
request is bounded: `bounds.py`.
"""

from serving.metrics import Metrics

RETRY_AFTER_S = 1
"""What a client that was sent away is told to wait, in seconds."""


class Admission:
    """Counts the scoring requests that are being read, wait, or are computed. For one event loop."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        """Take how many there may be."""
        self.limit = limit
        self._metrics = metrics
        self.inside = 0

    @property
    def full(self) -> bool:
        """Whether one more would be sent away."""
        return self.inside >= self.limit

    def enter(self) -> bool:
        """Let a request in; False, and counted, when there are too many. Whoever was let in must `leave`."""
        if self.full:
            self._metrics.turned_away.labels("busy").inc()
            return False
        self.inside += 1
        return True

    def leave(self) -> None:
        """Let a request out, answered or not."""
        self.inside -= 1
