"""What a model returns to when its version in Production was withdrawn: the newest that is still approved. Pure rules.

A withdrawal leaves nothing in Production: it was archived, lost its alias or tag, or was deleted. Whether anything
returns by itself is the policy's word (`governance.on_withdrawal`); who carries it out is in `lifecycle/withdrawal.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from mlflow_ext.domain.events import RegistryEvent, RegistryEventKind
from mlflow_ext.domain.promotion import PromotionState
from mlflow_ext.domain.stages import STAGE_OF_ALIAS, STAGE_TAG, ModelVersion, Stage
from mlflow_ext.domain.staging import ROLLED_BACK_TAG

WITHDRAWAL = "withdrawal"
"""Source of promotions that a withdrawal opened: the version's gates have to be computed again."""


@dataclass(frozen=True, slots=True)
class Return:
    """What a withdrawal brings back.

    Attributes:
        withdrawn: Version that was taken out of Production.
        version: Version to return to.
        event: Registry event of the withdrawal.
        within: Whether its gates still count; they are computed again otherwise.
    """

    withdrawn: int
    version: int
    event: int
    within: bool


def left_production(event: RegistryEvent) -> int | None:
    """Give the version that an event took out of Production, if it did."""
    if event.kind is RegistryEventKind.ALIAS:
        left = STAGE_OF_ALIAS.get(event.key) is Stage.PRODUCTION and event.old is not None and event.old != event.new
        return int(event.old or 0) if left else None
    moved = event.kind is RegistryEventKind.STAGE or (event.kind is RegistryEventKind.TAG and event.key == STAGE_TAG)
    left = Stage.parse(event.old) is Stage.PRODUCTION and Stage.parse(event.new) is not Stage.PRODUCTION
    return event.version if moved and left else None


def returns_to(
    versions: Sequence[ModelVersion],
    moves: Sequence[RegistryEvent],
    ends: Mapping[int, PromotionState],
    *,
    guarded: bool,
    window_s: float | None,
) -> Return | None:
    """Say what a model with nothing in Production returns to; `None` when there is nothing to return to.

    Args:
        versions: All live versions.
        moves: People's and workers' moves of marks, newest first, without those of agreements.
        ends: State of each version's newest promotion that was no dry run.
        guarded: Only a promotion is evidence; otherwise a version that a person had put there by hand counts too.
        window_s: So long after a version left Production its gates still count; `None` means for ever.
    """
    found = ((left_production(event), event) for event in moves)
    left = [(version, event) for version, event in found if version is not None]
    if not left:
        return None
    withdrawn, withdrawal = left[0]
    live = {version.version: version for version in versions}
    for number, event in left[1:]:
        version = live.get(number)
        if number == withdrawn or version is None or version.stage is not Stage.ARCHIVED:
            continue
        if ROLLED_BACK_TAG in version.tags or not _is_approved(ends.get(number), guarded=guarded):
            continue
        age_s = (withdrawal.at - event.at).total_seconds()
        return Return(withdrawn, number, withdrawal.id, window_s is None or age_s <= window_s)
    return None


def too_old(version: ModelVersion, moves: Sequence[RegistryEvent], window_s: float | None, now: datetime) -> str | None:
    """Say why a version may not come back to Production without its gates; `None` when it may.

    Args:
        version: Version to go back to.
        moves: Moves of marks, newest first.
        window_s: So long after a version left Production its gates still count; `None` means for ever.
        now: The time.
    """
    left = next((event.at for event in moves if left_production(event) == version.version), None)
    if window_s is None or left is None or (now - left).total_seconds() <= window_s:
        return None
    return (
        f"version {version.version} of {version.model} left Production at {left:%Y-%m-%d %H:%M} UTC, longer ago than "
        f"governance.rollback_window_s ({window_s:g} s): `mlflow-ext promote {version.model} {version.version}` lets "
        "its gates judge it again"
    )


def _is_approved(end: PromotionState | None, *, guarded: bool) -> bool:
    by_hand = {None, PromotionState.SUPERSEDED}
    return end is PromotionState.PROMOTED or (not guarded and end in by_hand)
