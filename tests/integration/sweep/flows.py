"""The stories in which the fault points are passed: what a person does, and how everything has to stand at the end."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mlflow_ext.domain.promotion import Promotion, PromotionState
from mlflow_ext.domain.stages import Stage
from tests.integration.sweep.ground import GATES, Ground


@dataclass(frozen=True)
class Flow:
    """One story of one model; version 1 is in Production before it begins, version 2 is the candidate.

    Attributes:
        candidate: What version 2 is worth.
        begin: What a person does first.
        state: How the candidate's promotion has to end.
        production: Which version has to be in Production then.
        policy: The policy, besides the gates.
        ready: When the person goes on with `command`, or `then`; before, nothing is struck.
        command: The arguments of the person's `mlflow-ext` command, by model and promotion.
        then: What else the person does.
        gates_pass: Whether the candidate may only get there by its gates.
    """

    candidate: str
    state: PromotionState
    production: int
    policy: dict[str, Any] = field(default_factory=dict)
    ready: PromotionState | None = None
    command: Callable[[str, Promotion], list[str]] | None = None
    then: Stage | None = None
    gates_pass: bool = True

    def begin(self, ground: Ground) -> str:
        """Make the model; all that names its Production agrees before anything is struck."""
        model = ground.model("good", self.candidate)
        ground.move(model, 1, Stage.PRODUCTION)
        ground.parts.settle(model)
        return model

    @property
    def rules(self) -> dict[str, Any]:
        """The whole policy."""
        return {**GATES, **self.policy, "gates": [*GATES["gates"], *self.policy.get("gates", [])]}


FLOWS = {
    "promote": Flow("good", PromotionState.PROMOTED, 2),
    "reject": Flow("bad", PromotionState.REJECTED, 1),
    "approve": Flow(
        "good",
        PromotionState.PROMOTED,
        2,
        policy={"gates": [{"gate": "approval"}]},
        ready=PromotionState.AWAITING_APPROVAL,
        command=lambda _, promotion: ["approve", str(promotion.id), "--comment", "fine"],
    ),
    "override": Flow(
        "bad",
        PromotionState.PROMOTED,
        2,
        ready=PromotionState.REJECTED,
        command=lambda model, _: ["promote", model, "2", "--override", "--reason", "incident 7"],
        gates_pass=False,
    ),
    "roll back": Flow(
        "good",
        PromotionState.ROLLED_BACK,
        1,
        ready=PromotionState.PROMOTED,
        command=lambda model, _: ["rollback", model],
    ),
    "withdraw": Flow(
        "good",
        PromotionState.ROLLED_BACK,
        1,
        policy={"governance": {"on_withdrawal": "return"}},
        ready=PromotionState.PROMOTED,
        then=Stage.ARCHIVED,
    ),
    "supersede": Flow(
        "slow",
        PromotionState.SUPERSEDED,
        1,
        ready=PromotionState.EVALUATING,
        then=Stage.ARCHIVED,
    ),
}
