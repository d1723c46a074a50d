"""The twin of `store/notifications.py`."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryNotifications:
    """The `Notifications` port; `notify` is what a trigger or a pointer's move does."""

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def notify(self, model: str) -> None:
        """Tell that something about a model changed."""
        self._news.put(model)

    def wake(self) -> None:
        """End the present wait."""
        self._news.put(None)

    @contextmanager
    def listen(self, timeout_s: float) -> Iterator[Iterator[str | None]]:
        """Yield model names as they change, and `None` when everything is to be looked at."""
        yield self._listen(timeout_s)

    def _listen(self, timeout_s: float) -> Iterator[str | None]:
        yield None
        while True:
            try:
                yield self._news.get(timeout=timeout_s)
            except queue.Empty:
                yield None
