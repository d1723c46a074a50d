"""Must people agree? This gate measures nothing: it makes the promotion wait until enough of them have.

Who counts, and who does not, is in `domain/approval.py`; their words are kept in `store/approvals.py`.
"""

from typing import Literal

from mlflow_ext.domain.approval import GATE
from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.gate_context import GateContext
from mlflow_ext.policy import GatePolicy


class ApprovalPolicy(GatePolicy):
    """Who has to agree.

    Attributes:
        gate: `approval`.
        people: So many people.
        four_eyes: None of them may have made the version or asked for its promotion.
    """

    gate: Literal["approval"] = "approval"
    people: Literal[1, 2] = 1
    four_eyes: bool = False

    @property
    def title(self) -> str:
        """What is asked."""
        who = "a person agrees" if self.people == 1 else "two people agree"
        return f"{who}, not the author" if self.four_eyes else who


class ApprovalGate:
    """`gate: approval`."""

    policy = ApprovalPolicy

    def judge(self, policy: ApprovalPolicy, context: GateContext) -> GateResult:
        """Ask for people: nobody can have agreed before the other gates were computed."""
        return GateResult(
            gate=GATE,
            name=policy.title,
            verdict=Verdict.INCONCLUSIVE,
            reason=f"the policy asks that {policy.title}",
            bound=policy.people,
            details={"people": policy.people, "four_eyes": policy.four_eyes},
        )


gate = ApprovalGate()
