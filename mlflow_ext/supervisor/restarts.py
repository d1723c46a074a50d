"""When a dead process is started again, and when that is given up: a rule without a clock or a process."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Restarts:
    """Back-off that doubles, and a limit within a span of time.

    Attributes:
        limit: So many restarts within `window_s` are made; the next death is the end.
        window_s: A death longer ago than this is forgotten.
        first_s: Pause before the first restart.
        longest_s: Longest pause.
    """

    limit: int = 5
    window_s: float = 120.0
    first_s: float = 0.5
    longest_s: float = 15.0
    _deaths: deque[float] = field(default_factory=deque)

    def pause_after_death(self, now: float) -> float | None:
        """Note a death and say how long to wait; `None` means to give up.

        Args:
            now: Seconds on a clock that never goes back.
        """
        while self._deaths and now - self._deaths[0] > self.window_s:
            self._deaths.popleft()
        self._deaths.append(now)
        if len(self._deaths) > self.limit:
            return None
        return min(self.first_s * 2.0 ** (len(self._deaths) - 1), self.longest_s)
