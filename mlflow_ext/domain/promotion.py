"""The promotion's state machine, as pure rules. Who drives it lives in `lifecycle/promote.py`.

When a mark opens a promotion, and when a person's hand ends one, is said in `domain/staging.py`.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from mlflow_ext.domain.gates import Verdict
from mlflow_ext.errors import IllegalTransitionError


class PromotionState(StrEnum):
    """Where a promotion stands."""

    REQUESTED = "requested"
    EVALUATING = "evaluating"
    AWAITING_APPROVAL = "awaiting_approval"
    ROLLING_OUT = "rolling_out"
    PROMOTED = "promoted"
    EVALUATED = "evaluated"
    REJECTED = "rejected"
    ABORTED = "aborted"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    ROLLED_BACK = "rolled_back"

    @property
    def is_open(self) -> bool:
        """Tell whether work is still to be done."""
        return self in OPEN_STATES


class PromotionEvent(StrEnum):
    """What can happen to a promotion."""

    CLAIM = "claim"
    GATES_PASSED = "gates_passed"
    GATES_FAILED = "gates_failed"
    APPROVAL_NEEDED = "approval_needed"
    DRY_RUN_ENDED = "dry_run_ended"
    AGREED = "agreed"
    APPROVED = "approved"
    REFUSED = "refused"
    OVERRIDE = "override"
    PUBLISHED = "published"
    ABORT = "abort"
    FAIL = "fail"
    SUPERSEDE = "supersede"
    COMPARE_ANEW = "compare_anew"
    ROLL_BACK = "roll_back"


OPEN_STATES = frozenset(
    {
        PromotionState.REQUESTED,
        PromotionState.EVALUATING,
        PromotionState.AWAITING_APPROVAL,
        PromotionState.ROLLING_OUT,
    }
)

OVERRIDABLE = OPEN_STATES - {PromotionState.ROLLING_OUT}
"""Where a person may still say that the version goes to Production whatever its gates say."""

LETS_GO = frozenset({PromotionEvent.APPROVED, PromotionEvent.OVERRIDE})
"""A person's decision: its note becomes the reason, and any worker takes it from there."""

KEEPS_REASON = frozenset({PromotionEvent.AGREED, PromotionEvent.COMPARE_ANEW})
"""The promotion goes on as before: the step's note is only its own."""


def leaves_worker(event: PromotionEvent, state: PromotionState) -> bool:
    """Tell whether a step to a state takes the promotion out of its worker's hands."""
    waits = state in (PromotionState.REQUESTED, PromotionState.AWAITING_APPROVAL)
    return event in LETS_GO or waits or not state.is_open


TRANSITIONS: dict[tuple[PromotionState, PromotionEvent], PromotionState] = {
    (PromotionState.REQUESTED, PromotionEvent.CLAIM): PromotionState.EVALUATING,
    # a worker died while it evaluated: the next one claims again, and the gates are computed afresh
    (PromotionState.EVALUATING, PromotionEvent.CLAIM): PromotionState.EVALUATING,
    (PromotionState.EVALUATING, PromotionEvent.GATES_PASSED): PromotionState.ROLLING_OUT,
    (PromotionState.EVALUATING, PromotionEvent.GATES_FAILED): PromotionState.REJECTED,
    (PromotionState.EVALUATING, PromotionEvent.APPROVAL_NEEDED): PromotionState.AWAITING_APPROVAL,
    # a dry run ends here whatever its gates said; its report has the verdict
    (PromotionState.EVALUATING, PromotionEvent.DRY_RUN_ENDED): PromotionState.EVALUATED,
    # one of two people
    (PromotionState.AWAITING_APPROVAL, PromotionEvent.AGREED): PromotionState.AWAITING_APPROVAL,
    (PromotionState.AWAITING_APPROVAL, PromotionEvent.APPROVED): PromotionState.ROLLING_OUT,
    (PromotionState.AWAITING_APPROVAL, PromotionEvent.REFUSED): PromotionState.REJECTED,
    (PromotionState.ROLLING_OUT, PromotionEvent.CLAIM): PromotionState.ROLLING_OUT,
    (PromotionState.ROLLING_OUT, PromotionEvent.PUBLISHED): PromotionState.PROMOTED,
    # another promotion was there first: what was compared with is in Production no more
    (PromotionState.ROLLING_OUT, PromotionEvent.COMPARE_ANEW): PromotionState.REQUESTED,
    (PromotionState.PROMOTED, PromotionEvent.ROLL_BACK): PromotionState.ROLLED_BACK,
    **{(state, PromotionEvent.OVERRIDE): PromotionState.ROLLING_OUT for state in OVERRIDABLE},
    **{(state, PromotionEvent.ABORT): PromotionState.ABORTED for state in OPEN_STATES},
    **{(state, PromotionEvent.FAIL): PromotionState.FAILED for state in OPEN_STATES},
    **{(state, PromotionEvent.SUPERSEDE): PromotionState.SUPERSEDED for state in OPEN_STATES},
}


def next_state(state: PromotionState, event: PromotionEvent) -> PromotionState:
    """Apply one event.

    Raises:
        IllegalTransitionError: The event makes no sense in this state.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError as exc:
        raise IllegalTransitionError(f"a promotion that is {state} cannot take the step '{event}'") from exc


def conclusion(verdict: Verdict, *, dry_run: bool) -> PromotionEvent:
    """Say what the gates' verdict does to a promotion. A dry run decides nothing, but it can fail to be computed."""
    if verdict is Verdict.ERROR:
        return PromotionEvent.FAIL
    if dry_run:
        return PromotionEvent.DRY_RUN_ENDED
    return {
        Verdict.PASSED: PromotionEvent.GATES_PASSED,
        Verdict.FAILED: PromotionEvent.GATES_FAILED,
        Verdict.INCONCLUSIVE: PromotionEvent.APPROVAL_NEEDED,
    }[verdict]


NEXT_STEPS = {
    PromotionState.REQUESTED: "a promotion worker takes it",
    PromotionState.EVALUATING: "the gates are being computed",
    PromotionState.AWAITING_APPROVAL: (
        "a person with the right says `mlflow-ext approve {id}` or `mlflow-ext reject {id}`, or moves the version by "
        "hand where the model is not guarded"
    ),
    PromotionState.ROLLING_OUT: "the version is being moved to Production",
    PromotionState.PROMOTED: "none; `mlflow-ext rollback {model}` would take it back",
    PromotionState.EVALUATED: "none, it was a dry run; `mlflow-ext promote {model} {version}` promotes",
    PromotionState.REJECTED: "register a better version; or move this one out of Staging and in again to ask once more",
    PromotionState.ABORTED: "none; `mlflow-ext promote {model} {version}` asks anew",
    PromotionState.FAILED: "mend the cause, then `mlflow-ext promote {model} {version}`",
    PromotionState.SUPERSEDED: "none, a person decided; `mlflow-ext promote {model} {version}` asks anew",
    PromotionState.ROLLED_BACK: "none, the model does not return to this version by itself",
}
"""What happens next, or who may do what, for people."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """One attempt to bring one version to Production.

    Attributes:
        id: Number given by the store.
        model: Registered model.
        version: Candidate (challenger).
        state: Where it stands.
        source: What asked for it: `registry`, `cli`, `api` or `retraining`.
        requested_by: Actor, as far as known.
        dry_run: Gates are computed and recorded, nothing is flipped.
        attempt: How often a worker has claimed it (fences late writers).
        reason: Why it ended, in one sentence.
        report: `GateReport.as_dict()`, once there is one.
        champion_version: Production version at the time of evaluation; of an override, when it was asked for.
        policy_hash: Which policy judged it.
        run_id: MLflow run with the evidence.
        created_at: When it was requested.
        updated_at: When its state last changed.
        registry_at: MLflow's own time of the version's last change when the promotion ended; shows a later change
            where no triggers are installed.
        override_reason: Why a person sent it past its gates; empty when nobody did.
        workspace: MLflow workspace.
        seen_event: Newest registry event of the version's stage when it was requested; `None` where nobody knew.
    """

    id: int
    model: str
    version: int
    state: PromotionState
    source: str
    requested_by: str = ""
    dry_run: bool = False
    attempt: int = 0
    reason: str = ""
    report: dict[str, Any] | None = None
    champion_version: int | None = None
    policy_hash: str | None = None
    run_id: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    registry_at: datetime | None = None
    override_reason: str = ""
    workspace: str = "default"
    seen_event: int | None = None

    @property
    def next_step(self) -> str:
        """What happens next, or who may do what."""
        return NEXT_STEPS[self.state].format(id=self.id, model=self.model, version=self.version)

    @property
    def is_settled(self) -> bool:
        """Tell whether nothing more happens by itself: it ended, or waits for a person."""
        return not self.state.is_open or self.state is PromotionState.AWAITING_APPROVAL
