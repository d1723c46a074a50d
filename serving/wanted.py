"""Which versions of a model should be loaded, and which one should answer.

A rule over the pointer, the marks and the open promotions; nothing is read here. How it is made so: `watcher.py`.
"""

from collections.abc import Sequence
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
        others: What should be loaded besides: the former Production version for a while, and what may come next.
    """

    champion: ModelVersion | None = None
    generation: int = 0
    others: list[ModelVersion] = field(default_factory=list)

    @property
    def all(self) -> list[ModelVersion]:
        """Everything that should be loaded, the most urgent first."""
        return [*([self.champion] if self.champion is not None else []), *self.others]


def want(
    pointer: ServingPointer | None,
    versions: list[ModelVersion],
    *,
    promoted: Sequence[int] = (),
    load_ahead: int,
    keep_previous_s: float,
    now: datetime,
) -> Wanted:
    """Decide what should be loaded.

    Args:
        pointer: The model's pointer, if it ever had one.
        versions: All its versions in the registry.
        promoted: Numbers of the versions with an open promotion, the newest promotion first.
        load_ahead: How many versions are loaded before anything points at them, at most. Open promotions come first,
            since somebody means to have them in Production; then versions in Staging, the newest first.
        keep_previous_s: How long the former Production version stays loaded, in seconds.
        now: The time.
    """
    by_number = {version.version: version for version in versions}
    champion, kept = None, []
    if pointer is not None:
        champion = by_number.get(pointer.version) if pointer.version is not None else None
        if pointer.previous_version is not None and _is_recent(pointer, keep_previous_s, now):
            kept = [pointer.previous_version]
    staging = sorted((version.version for version in versions if _is_staging(version)), reverse=True)
    here = {*kept, *([champion.version] if champion is not None else [])}
    ahead = [n for n in dict.fromkeys([*promoted, *staging]) if n in by_number and n not in here]
    return Wanted(
        champion=champion,
        generation=pointer.generation if pointer is not None else 0,
        others=[by_number[n] for n in [*ahead[:load_ahead], *kept] if n in by_number and by_number[n] is not champion],
    )


def _is_staging(version: ModelVersion) -> bool:
    return any(version.stage_by(mark) is Stage.STAGING for mark in Mark)


def _is_recent(pointer: ServingPointer, keep_previous_s: float, now: datetime) -> bool:
    return pointer.moved_at is None or now - pointer.moved_at < timedelta(seconds=keep_previous_s)
