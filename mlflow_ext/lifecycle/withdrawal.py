"""Return to the newest version that is still approved when the one in Production was withdrawn, if the policy says so.

The rule is in `domain/withdrawal.py`. The pointer goes first (`reconcile.py` asks `instead`), so that clients are
answered at once; the promotion worker lets MLflow's marks follow. Both may be done any number of times.
"""

import logging
from collections.abc import Callable, Sequence

from mlflow_ext.domain.events import RegistryEvent
from mlflow_ext.domain.promotion import PromotionEvent, PromotionState
from mlflow_ext.domain.stages import ModelVersion, Stage
from mlflow_ext.domain.staging import ROLLED_BACK_TAG
from mlflow_ext.domain.withdrawal import WITHDRAWAL, Return, returns_to
from mlflow_ext.errors import ConflictError
from mlflow_ext.policy import GovernancePolicy
from mlflow_ext.ports import EventLog, Promotions, Registry, RegistryView

_log = logging.getLogger(__name__)

_HISTORY = 1_000


def instead(
    model: str,
    versions: Sequence[ModelVersion],
    moves: Sequence[RegistryEvent],
    promotions: Promotions,
    policy: GovernancePolicy,
) -> Return | None:
    """Say what a model with nothing in Production returns to under its policy."""
    if policy.on_withdrawal != "return":
        return None
    ends: dict[int, PromotionState] = {}
    for promotion in promotions.find(model, limit=_HISTORY):
        if not promotion.dry_run:
            ends.setdefault(promotion.version, promotion.state)
    guarded = policy.guard == "enforce"
    return returns_to(versions, moves, ends, guarded=guarded, window_s=policy.rollback_window_s)


def return_after_withdrawal(
    model: str,
    view: RegistryView,
    events: EventLog,
    promotions: Promotions,
    registry: Callable[[], Registry],
    policy: GovernancePolicy,
) -> Return | None:
    """Let the registry return to the newest approved version; call it when all marks agree.

    The withdrawn version's promotion is rolled back and the version is marked, so that nothing returns to it. Outside
    the window a promotion is opened for the version to return to, and its gates decide.

    Returns:
        What was done; `None` when there was nothing to do.

    Raises:
        UnavailableError: MLflow or the database does not answer.
        GateRefusedError: MLflow's server refused the change.
        NotFoundError: A version vanished meanwhile.
    """
    if policy.on_withdrawal != "return":
        return None
    latest = events.latest(model)
    versions = view.versions(model)
    if any(version.stage is Stage.PRODUCTION for version in versions):
        return None
    moves = [move for move in latest if not move.ours]
    back = instead(model, versions, moves, promotions, policy)
    if back is None:
        return None
    try:
        if not back.within:
            promotions.request(model, back.version, source=WITHDRAWAL, cause=f"{WITHDRAWAL}:{back.event}")
            return None
        # first the store: what is half done is found again by the events, which have not changed
        _end_promotion(model, back, promotions)
    except ConflictError:
        return None  # the next look judges what somebody else has done meanwhile
    if any(version.version == back.withdrawn for version in versions):
        registry().set_tags(model, back.withdrawn, {ROLLED_BACK_TAG: f"withdrawn, back to version {back.version}"})
    if [move for move in events.latest(model) if not move.ours] != moves:
        return None  # a person has moved something: their word counts
    registry().set_stage(model, back.version, Stage.PRODUCTION)
    _log.info("returned model=%s withdrawn=%s to_version=%s", model, back.withdrawn, back.version)
    return back


def _end_promotion(model: str, back: Return, promotions: Promotions) -> None:
    for promotion in promotions.find(model, version=back.withdrawn):
        if promotion.state is PromotionState.PROMOTED:
            note = f"version {back.withdrawn} was withdrawn from Production; back to version {back.version}"
            promotions.record(promotion, PromotionEvent.ROLL_BACK, note=note)
            return
