"""Twins that take seconds to make: a version answers without its twin meanwhile, and by it from then on.

One thread beside the others; how a twin is made and tried is `loader.py`'s, what answers stays the watcher's to write.
"""

import logging
import queue
import threading
from collections.abc import Callable

from serving.pool import LoadedVersion

logger = logging.getLogger(__name__)


class LateTwins:
    """Has missing twins made, one after the other."""

    def __init__(self, with_twin: Callable[[LoadedVersion], LoadedVersion]) -> None:
        """Take what gives a loaded version with its twin, or with the reason why there is none."""
        self._with_twin = with_twin
        self.give: Callable[[LoadedVersion, LoadedVersion], None] = lambda _, __: None
        """Gets the version as it was and as it is; set by the process, before anything is offered."""
        self._offered: queue.SimpleQueue[LoadedVersion] = queue.SimpleQueue()
        # it waits for a process that dies with it
        self._thread = threading.Thread(target=self._run, name="late-twins", daemon=True)

    def start(self) -> None:
        """Begin to make twins."""
        self._thread.start()

    def offer(self, loaded: LoadedVersion) -> None:
        """Have a version's twin made, if it waits for one."""
        if loaded.twin_later:
            self._offered.put(loaded)

    def _run(self) -> None:
        while True:
            loaded = self._offered.get()
            try:
                self.give(loaded, self._with_twin(loaded))
            # the version answers without its twin; the thread is needed for the next one
            except Exception:
                logger.exception("event=twin_failed model=%r version=%d", loaded.model, loaded.version)
