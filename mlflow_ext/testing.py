"""In-memory twins of the ports, for tests of ours and of users. Each passes the contract suite of its real adapter.

The real adapters live in `registry/` and `store/`.
"""

import itertools
import queue
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from mlflow_ext.domain.events import RegistryEvent, RegistryEventKind
from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.domain.stages import STAGE_OF_ALIAS, STAGE_TAG, ModelVersion, Stage
from mlflow_ext.errors import ConflictError, NotFoundError


@dataclass(slots=True)
class MemoryClock:
    """The `Clock` port: stands still until it is told to go on."""

    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """Give the time."""
        return self.time

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=seconds)


@dataclass(slots=True)
class MemoryEventLog:
    """The `EventLog` port; `note` is what the registry triggers do."""

    clock: MemoryClock = field(default_factory=MemoryClock)
    events: list[RegistryEvent] = field(default_factory=list)
    cursors: dict[str, int] = field(default_factory=dict)

    def note(
        self, model: str, version: int | None, kind: RegistryEventKind, key: str, old: str | None, new: str | None
    ) -> None:
        """Append an event, unless nothing changed."""
        if kind is RegistryEventKind.VERSION or old != new:
            at = self.clock.now()
            self.events.append(RegistryEvent(len(self.events) + 1, at, model, version, kind, key, old, new))

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


@dataclass(slots=True)
class MemoryRegistry:
    """The ports `Registry` and `RegistryView` on one in-memory registry, which writes its changes to an event log."""

    log: MemoryEventLog = field(default_factory=MemoryEventLog)
    kept: dict[tuple[str, int], ModelVersion] = field(default_factory=dict)

    def add(self, model: str, stage: Stage = Stage.NONE) -> ModelVersion:
        """Register a version, as `mlflow.register_model` does."""
        number = max((version for name, version in self.kept if name == model), default=0) + 1
        made = self.kept[model, number] = ModelVersion(model, number, stage)
        self.log.note(model, number, RegistryEventKind.VERSION, "", None, stage.value)
        return made

    def models(self) -> list[str]:
        """Name every registered model that has at least one version."""
        return sorted({name for name, _ in self.kept})

    def versions(self, model: str) -> list[ModelVersion]:
        """Give all versions of a model, newest first."""
        return sorted((v for v in self.kept.values() if v.model == model), key=lambda v: v.version, reverse=True)

    def version(self, model: str, version: int) -> ModelVersion:
        """Give one version."""
        try:
            return self.kept[model, version]
        except KeyError as exc:
            raise NotFoundError(f"MLflow's registry has no version {version} of model '{model}'") from exc

    def set_stage(self, model: str, version: int, stage: Stage) -> None:
        """Move a version; a former one in Production is archived."""
        self.version(model, version)
        if stage is Stage.PRODUCTION:
            for other in self.versions(model):
                if other.stage is Stage.PRODUCTION and other.version != version:
                    self._put_stage(other, Stage.ARCHIVED)
        self._put_stage(self.version(model, version), stage)

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        self.version(model, version)
        self._put_alias(model, alias, version)

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias."""
        if not self.versions(model):
            raise NotFoundError(f"MLflow's registry has no model '{model}'")
        self._put_alias(model, alias, None)

    def set_tags(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Set version tags."""
        for key, value in tags.items():
            found = self.version(model, version)
            self.kept[model, version] = replace(found, tags={**found.tags, key: value})
            self.log.note(model, version, RegistryEventKind.TAG, key, found.tags.get(key), value)

    def delete_tag(self, model: str, version: int, key: str) -> None:
        """Remove a version tag."""
        found = self.version(model, version)
        self.kept[model, version] = replace(found, tags={k: v for k, v in found.tags.items() if k != key})
        self.log.note(model, version, RegistryEventKind.TAG, key, found.tags.get(key), None)

    def set_description(self, model: str, version: int, text: str) -> None:
        """Replace a version's description."""
        self.kept[model, version] = replace(self.version(model, version), description=text)

    def _put_stage(self, version: ModelVersion, stage: Stage) -> None:
        self.kept[version.model, version.version] = replace(version, stage=stage)
        self.log.note(version.model, version.version, RegistryEventKind.STAGE, "", version.stage.value, stage.value)

    def _put_alias(self, model: str, alias: str, target: int | None) -> None:
        former = next((v.version for v in self.versions(model) if alias in v.aliases), None)
        for found in self.versions(model):
            aliases = {*found.aliases} - {alias} | ({alias} if found.version == target else set())
            self.kept[model, found.version] = replace(found, aliases=tuple(sorted(aliases)))
        old, new = (None if number is None else str(number) for number in (former, target))
        self.log.note(model, target or former, RegistryEventKind.ALIAS, alias, old, new)


@dataclass(slots=True)
class MemoryPointers:
    """The `Pointers` port."""

    clock: MemoryClock = field(default_factory=MemoryClock)
    kept: dict[str, ServingPointer] = field(default_factory=dict)

    def all(self) -> list[ServingPointer]:
        """Give every pointer, by model name."""
        return [self.kept[model] for model in sorted(self.kept)]

    def get(self, model: str) -> ServingPointer | None:
        """Give one model's pointer."""
        return self.kept.get(model)

    def move(self, model: str, version: int | None, *, seen_generation: int, reason: str) -> ServingPointer:
        """Compare-and-set."""
        former = self.kept.get(model, ServingPointer(model, None, 0))
        if former.generation != seen_generation:
            raise ConflictError(f"the serving pointer of '{model}' has moved past generation {seen_generation}")
        moved = ServingPointer(model, version, seen_generation + 1, former.version, self.clock.now())
        self.kept[model] = moved
        return moved


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
