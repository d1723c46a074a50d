"""Which versions of a model should be loaded, and which one should answer: a rule over the pointer and the marks."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.domain.stages import Mark, ModelVersion, Stage


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a model should look like in a scoring process.

    Attributes:
        champion: The version that should answer, if any.
        generation: The pointer's generation that says so.
        others: What should be loaded besides: versions in Staging, and the former Production version for a while.
    """

    champion: ModelVersion | None = None
    generation: int = 0
    others: list[ModelVersion] = field(default_factory=list)

    @property
    def all(self) -> list[ModelVersion]:
        """Everything that should be loaded, the most urgent first."""
        return [*([self.champion] if self.champion is not None else []), *self.others]


def want(
    pointer: ServingPointer | None, versions: list[ModelVersion], *, keep_previous_s: float, now: datetime
) -> Wanted:
    """Decide what should be loaded.

    Args:
        pointer: The model's pointer, if it ever had one.
        versions: All its versions in the registry.
        keep_previous_s: How long the former Production version stays loaded, in seconds.
        now: The time.
    """
    by_number = {version.version: version for version in versions}
    numbers = [version.version for version in versions if _is_staging(version)]
    champion = None
    if pointer is not None:
        champion = by_number.get(pointer.version) if pointer.version is not None else None
        if pointer.previous_version is not None and _is_recent(pointer, keep_previous_s, now):
            numbers.append(pointer.previous_version)
    return Wanted(
        champion=champion,
        generation=pointer.generation if pointer is not None else 0,
        others=[by_number[n] for n in dict.fromkeys(numbers) if n in by_number and by_number[n] is not champion],
    )


def _is_staging(version: ModelVersion) -> bool:
    return any(version.stage_by(mark) is Stage.STAGING for mark in Mark)


def _is_recent(pointer: ServingPointer, keep_previous_s: float, now: datetime) -> bool:
    return pointer.moved_at is None or now - pointer.moved_at < timedelta(seconds=keep_previous_s)
