"""When a version that could not be loaded is tried again: back-off that doubles, slower for what will hardly pass."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Key = tuple[str, int, str | None]
"""Model, version, source."""

PASSING_S = (1.0, 60.0)
"""First and longest pause where something that is needed did not answer, in seconds."""
LASTING_S = (30.0, 600.0)
"""The same where the version itself is at fault."""


@dataclass(slots=True)
class Retries:
    """What failed, how often, and when it may be tried again."""

    monotonic: Callable[[], float] = time.monotonic
    _attempts: dict[Key, int] = field(default_factory=dict)
    _pauses: dict[Key, float] = field(default_factory=dict)

    def failed(self, key: Key, *, passing: bool) -> float:
        """Note a failure; gives the seconds until the next attempt."""
        first_s, longest_s = PASSING_S if passing else LASTING_S
        attempts = self._attempts[key] = self._attempts.get(key, 0) + 1
        pause_s = min(first_s * 2.0 ** min(attempts - 1, 20), longest_s)
        self._pauses[key] = self.monotonic() + pause_s
        return pause_s

    def forget(self, key: Key) -> None:
        """It was loaded, or may be tried at once for another reason."""
        self._attempts.pop(key, None)
        self._pauses.pop(key, None)

    def may_try(self, key: Key) -> bool:
        """Tell whether the pause is over, or there is none."""
        return key not in self._pauses

    def due(self) -> list[str]:
        """Name the models with a version whose pause is over now; each pause ends once."""
        now = self.monotonic()
        over = [key for key, due in self._pauses.items() if now >= due]
        for key in over:
            del self._pauses[key]
        return sorted({model for model, _, _ in over})

    def next_in_s(self) -> float:
        """Give the seconds until the next pause is over; infinite without one."""
        return max(0.0, min(self._pauses.values()) - self.monotonic()) if self._pauses else float("inf")
