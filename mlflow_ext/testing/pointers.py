"""The twin of `store/pointers.py`."""

from dataclasses import dataclass, field

from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.errors import ConflictError
from mlflow_ext.testing.clock import MemoryClock


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
