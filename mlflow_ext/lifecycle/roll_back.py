"""Bring a model back to the last good version. What makes a version bad is that somebody rolled it back."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from mlflow_ext.domain.promotion import Promotion, PromotionEvent, PromotionState
from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.domain.stages import ModelVersion, Stage, in_production
from mlflow_ext.domain.staging import ROLLED_BACK_TAG
from mlflow_ext.errors import ConflictError, NotFoundError
from mlflow_ext.ports import Pointers, Promotions, Registry, RegistryView

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a rollback did.

    Attributes:
        model: Registered model.
        from_version: Version that was in Production; `None` when none was.
        to_version: Version that is in Production now.
    """

    model: str
    from_version: int | None
    to_version: int


def roll_back(
    model: str,
    view: RegistryView,
    promotions: Promotions,
    pointers: Pointers,
    registry: Registry,
    flipped: Callable[[str], None],
    *,
    requested_by: str = "",
    too_old: Callable[[ModelVersion], str | None] = lambda _: None,
) -> RolledBack:
    """Put the last good version back into Production: the one served before, else the last one promoted.

    A version that was rolled back itself is never returned to.

    Args:
        model: Registered model.
        view: The registry's present state.
        promotions: The store.
        pointers: Which version was served before.
        registry: Changes to the registry.
        flipped: Called after the change; brings marks and pointer along.
        requested_by: Who asks.
        too_old: Says why a version's gates no longer count; `None` while they do.

    Raises:
        NotFoundError: There is no such model.
        ConflictError: There is no good version to return to, or its gates no longer count.
    """
    versions = {one.version: one for one in view.versions(model)}
    if not versions:
        raise NotFoundError(f"there is no model '{model}' with versions")
    current = in_production(versions.values())
    history = promotions.find(model, limit=1_000)
    target = next(_good_versions(versions, current, history, pointers.get(model)), None)
    if target is None:
        raise ConflictError(
            f"there is no earlier good version of {model} to go back to; mark a version Staging, or move one to "
            "Production by hand"
        )
    if (reason := too_old(target)) is not None:
        raise ConflictError(reason)
    if current is not None:
        # first the tag: a second rollback after a crash in between must not come back to this version, and whoever
        # finds it can finish what a crash has left
        said = f"to version {target.version}" + (f" by {requested_by}" if requested_by else "")
        registry.set_tags(model, current.version, {ROLLED_BACK_TAG: said})
    registry.set_stage(model, target.version, Stage.PRODUCTION)
    flipped(model)
    if current is not None:
        _end(current.version, said, history, promotions)
    _log.info("rolled_back model=%s to_version=%s", model, target.version)
    return RolledBack(model, current.version if current else None, target.version)


def end_rolled_back(
    model: str, view: RegistryView, promotions: Promotions, before: datetime | None = None
) -> list[Promotion]:
    """End the promotions of versions that a rollback took out of Production and whose process died before it said so.

    As long as such a promotion counts as promoted it is evidence for the guard, and a withdrawal could return to it.
    Versions that changed later than `before` are left: whoever rolls back may be about to say it in their own name.
    """
    ended = []
    for version in view.versions(model):
        if before is not None and version.updated_at is not None and version.updated_at > before:
            continue
        if ROLLED_BACK_TAG in version.tags and version.stage is not Stage.PRODUCTION:
            history = promotions.find(model, version=version.version)
            ended += _end(version.version, version.tags[ROLLED_BACK_TAG], history, promotions)
    return ended


def _end(version: int, said: str, history: list[Promotion], promotions: Promotions) -> list[Promotion]:
    for promotion in history:
        if promotion.version == version and promotion.state is PromotionState.PROMOTED:
            try:
                return [promotions.record(promotion, PromotionEvent.ROLL_BACK, note=f"rolled back {said}")]
            except ConflictError:
                return []  # somebody else, who saw the same, has ended it
    return []


def _good_versions(
    versions: dict[int, ModelVersion],
    current: ModelVersion | None,
    history: list[Promotion],
    pointer: ServingPointer | None,
) -> Iterator[ModelVersion]:
    previous = [] if pointer is None else [pointer.version, pointer.previous_version]
    promoted = [one.version for one in history if one.state is PromotionState.PROMOTED]
    for number in [*previous, *promoted]:
        version = versions.get(number or 0)
        if version is None or version == current or ROLLED_BACK_TAG in version.tags:
            continue
        yield version
