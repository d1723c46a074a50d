"""What marks in the registry mean for promotions: when one is opened, and when a person's hand ends one. Pure rules.

MLflow's stage field is read here; `lifecycle/reconcile.py` has brought alias and tag into agreement with it before.
"""

from collections.abc import Sequence

from mlflow_ext.domain.events import RegistryEvent, RegistryEventKind
from mlflow_ext.domain.promotion import Promotion, PromotionState
from mlflow_ext.domain.stages import STAGE_OF_ALIAS, STAGE_TAG, Mark, ModelVersion, Stage, in_production

REGISTRY = "registry"
"""Source of promotions that a mark opened."""
ROLLED_BACK_TAG = "mlflow_ext.rolled_back"
"""Version tag of a version that was found bad in Production; a rollback never returns to it."""
APPROVED_TAG = "mlflow_ext.approved"
"""Version tag of a version that people approved: who, and what they said."""
OVERRIDE_TAG = "mlflow_ext.override"
"""Version tag of a version that a person sent to Production past its gates: who, and why."""


def opening_cause(version: ModelVersion, events: Sequence[RegistryEvent], latest: Promotion | None) -> str | None:
    """Name the cause for which a version should get a promotion now; `None` when it should not.

    The newest change of the stage field to Staging is the cause, so that delivering it twice has one effect, and so
    that changes of alias and tag (our own, which bring marks into agreement, among them) open nothing by themselves.

    Args:
        version: A version as it stands in the registry.
        events: The model's newest events, newest first; empty where no triggers are installed.
        latest: The version's newest promotion that is no dry run.
    """
    if version.stage is not Stage.STAGING or (latest is not None and latest.state.is_open):
        return None
    mark = _newest_move(version, events)
    if mark is not None:
        return f"event:{mark.id}" if latest is None or not _seen(mark, latest) else None
    seen = version.updated_at.isoformat() if version.updated_at else "unknown"
    if latest is None:
        return f"seen:{seen}"
    changed = latest.registry_at and version.updated_at and version.updated_at > latest.registry_at
    return f"seen:{seen}" if changed else None


def overtaken(promotion: Promotion, version: ModelVersion | None, events: Sequence[RegistryEvent]) -> str | None:
    """Say how a person's change outranks an open promotion; `None` when it may go on.

    Args:
        promotion: An open promotion.
        version: Its version as it stands in the registry; `None` when it was deleted.
        events: The model's newest events, newest first.
    """
    if version is None:
        return f"version {promotion.version} was deleted from the registry"
    if promotion.dry_run:
        return None
    if version.stage is Stage.PRODUCTION:
        # while it rolls out, Production is what the promotion itself wrote
        by_hand = promotion.state is not PromotionState.ROLLING_OUT
        return f"version {version.version} was moved to Production by hand" if by_hand else None
    if version.stage is Stage.STAGING:
        return None
    mark = _newest_move(version, events)
    moved = mark is not None and (not _seen(mark, promotion) or _at_once(mark, promotion))
    if moved or promotion.source == REGISTRY:
        return f"version {version.version} was moved from Staging to {version.stage.value} by hand"
    return None


def outranked(promotion: Promotion, versions: Sequence[ModelVersion], events: Sequence[RegistryEvent]) -> int | None:
    """Name the version that went to Production since a promotion was decided; `None` while nothing speaks against it.

    What is in Production must be the version that the promotion was decided against, or the promotion's own. Whatever
    came to Production last counts, by any mark: aliases and tags may not be in agreement yet. Where nothing is in
    Production any more nobody's choice is undone. `store/guard_functions.py` asks the same in MLflow's transaction.

    Args:
        promotion: One that rolls out; `champion_version` was in Production when it was decided.
        versions: The model's live versions.
        events: The model's newest events, newest first; empty where no triggers are installed.
    """
    holding = {one.version for one in versions if any(one.stage_by(mark) is Stage.PRODUCTION for mark in Mark)}
    came = (number for number in map(_came_to_production, events) if number is not None)
    staged = in_production(versions)
    latest = next(came, None) or (staged.version if staged else None)
    if latest in (None, promotion.version, promotion.champion_version) or latest not in holding:
        return None
    return latest


def outranked_words(promotion: Promotion, latest: int) -> str:
    """Say to people why a promotion ends that was outranked, and what to do."""
    again = f"`mlflow-ext promote {promotion.model} {promotion.version}"
    if promotion.override_reason:
        return (
            f"version {latest} went to Production after the override was asked for, and a later word counts; "
            f'{again} --override --reason "..."` says it again'
        )
    against = "nothing in Production" if promotion.champion_version is None else f"version {promotion.champion_version}"
    return (
        f"version {latest} went to Production after version {promotion.version} was judged, against {against}: that "
        f"comparison says nothing any more; {again}` compares anew"
    )


def _came_to_production(event: RegistryEvent) -> int | None:
    """Give the version that an event brought to Production; our own agreement only repeats what another mark said."""
    if event.ours:
        return None
    if event.kind is RegistryEventKind.ALIAS:
        moved = STAGE_OF_ALIAS.get(event.key) is Stage.PRODUCTION and event.new is not None
        return int(event.new or 0) if moved else None
    if event.kind is RegistryEventKind.TAG and event.key != STAGE_TAG:
        return None
    return event.version if Stage.parse(event.new) is Stage.PRODUCTION else None


def _seen(mark: RegistryEvent, promotion: Promotion) -> bool:
    """Tell whether a change was there when a promotion was asked for: by its number, as a clock may be moved."""
    if promotion.seen_event is not None:
        return mark.id <= promotion.seen_event
    return promotion.created_at is not None and promotion.created_at >= mark.at


def _at_once(mark: RegistryEvent, promotion: Promotion) -> bool:
    """Tell whether only the time is known, and is the same."""
    return promotion.seen_event is None and promotion.created_at == mark.at


def _newest_move(version: ModelVersion, events: Sequence[RegistryEvent]) -> RegistryEvent | None:
    """Give the newest event that brought the version into the stage it has."""
    kinds = (RegistryEventKind.STAGE, RegistryEventKind.VERSION)
    for event in events:
        if event.version == version.version and event.kind in kinds:
            return event if event.new == version.stage.value else None
    return None
