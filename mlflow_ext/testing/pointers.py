"""The twin of `store/pointers.py`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock

from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.errors import ConflictError
from mlflow_ext.testing.clock import MemoryClock


@dataclass(slots=True)
class MemoryPointers:
    """The `Pointers` port."""

    clock: MemoryClock = field(default_factory=MemoryClock)
    kept: dict[str, ServingPointer] = field(default_factory=dict)
    held: RLock = field(default_factory=RLock)

    def all(self) -> list[ServingPointer]:
        """Give every pointer, by model name."""
        return [self.kept[model] for model in sorted(self.kept)]

    def get(self, model: str) -> ServingPointer | None:
        """Give one model's pointer."""
        return self.kept.get(model)

    @contextmanager
    def hold(self, model: str) -> Iterator[None]:
        """Let one thread at a time bring marks into agreement."""
        with self.held:
            yield

    def move(self, model: str, version: int | None, *, seen_generation: int, reason: str) -> ServingPointer:
        """Compare-and-set."""
        former = self.kept.get(model, ServingPointer(model, None, 0))
        if former.generation != seen_generation:
            raise ConflictError(f"the serving pointer of '{model}' has moved past generation {seen_generation}")
        moved = ServingPointer(model, version, seen_generation + 1, former.version, self.clock.now())
        self.kept[model] = moved
        return moved
