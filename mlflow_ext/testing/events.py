"""The twin of `store/events.py`. What an event means is decided in `domain/marks.py`."""

import itertools
from dataclasses import dataclass, field
from datetime import datetime

from mlflow_ext.domain.events import RegistryEvent, RegistryEventKind
from mlflow_ext.domain.stages import STAGE_OF_ALIAS, STAGE_TAG
from mlflow_ext.testing.clock import MemoryClock


@dataclass(slots=True)
class MemoryEventLog:
    """The `EventLog` port; `note` is what the registry triggers do."""

    clock: MemoryClock = field(default_factory=MemoryClock)
    events: list[RegistryEvent] = field(default_factory=list)
    cursors: dict[str, int] = field(default_factory=dict)
    ours: bool = False

    def note(
        self, model: str, version: int | None, kind: RegistryEventKind, key: str, old: str | None, new: str | None
    ) -> None:
        """Append an event, unless nothing changed."""
        if kind is RegistryEventKind.VERSION or old != new:
            at = self.clock.now()
            self.events.append(
                RegistryEvent(len(self.events) + 1, at, model, version, kind, key, old, new, ours=self.ours)
            )

    def read(self, consumer: str, limit: int = 500) -> list[RegistryEvent]:
        """Give events past the consumer's cursor."""
        cursor = self.cursors.get(consumer, 0)
        return self.events[cursor : cursor + limit]

    def advance(self, consumer: str, last: RegistryEvent) -> None:
        """Move the consumer's cursor to this event."""
        self.cursors[consumer] = max(last.id, self.cursors.get(consumer, 0))

    def latest(self, model: str) -> list[RegistryEvent]:
        """Give the newest events that moved a mark of this model, newest first."""
        marks = {(RegistryEventKind.STAGE, ""), (RegistryEventKind.TAG, STAGE_TAG)}
        marks |= {(RegistryEventKind.ALIAS, alias) for alias in STAGE_OF_ALIAS}
        moves = (event for event in reversed(self.events) if event.model == model and (event.kind, event.key) in marks)
        return list(itertools.islice(moves, 200))

    def now(self) -> datetime:
        """Give the clock's time."""
        return self.clock.now()
