"""A gate of one's own: how often may a classifier give one answer? Refuse a loan, say, or raise an alarm.

In `mlflow-ext.yaml`:

    gates:
      - {gate: share_of_answers, answer: "refuse", at_most: 0.2}
"""

from typing import Literal

from pydantic import Field, model_validator

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.gate_context import GateContext
from mlflow_ext.policy import GatePolicy


class ShareOfAnswersPolicy(GatePolicy):
    """Bounds for the share of one answer.

    Attributes:
        gate: `share_of_answers`, the name of the entry point.
        answer: The answer that is counted, as text.
        at_least: Least share of the evaluation rows.
        at_most: Largest share of the evaluation rows.
    """

    gate: Literal["share_of_answers"] = "share_of_answers"
    answer: str
    at_least: float = Field(default=0.0, ge=0, le=1)
    at_most: float = Field(default=1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _can_be_reached(self) -> "ShareOfAnswersPolicy":
        if self.at_least > self.at_most:
            raise ValueError("at_least is above at_most")
        return self

    @property
    def title(self) -> str:
        """What people are shown."""
        return f"'{self.answer}' for {self.at_least:.0%} to {self.at_most:.0%} of rows"


class ShareOfAnswersGate:
    """`gate: share_of_answers`."""

    policy = ShareOfAnswersPolicy

    def judge(self, policy: ShareOfAnswersPolicy, context: GateContext) -> GateResult:
        """Count the candidate's answers on the evaluation rows, and the champion's for comparison."""
        share = self._share(policy, context.candidate.predict(context.rows).tolist())
        champion = context.champion
        beside = None if champion is None else self._share(policy, champion.predict(context.rows).tolist())
        fits = policy.at_least <= share <= policy.at_most
        return GateResult(
            gate=policy.gate,
            name=policy.title,
            verdict=Verdict.PASSED if fits else Verdict.FAILED,
            reason=f"the answer is '{policy.answer}' for {share:.1%} of {len(context.rows)} rows",
            measured=share,
            bound=policy.at_most if share > policy.at_most else policy.at_least,
            champion=beside,
            sample_size=len(context.rows),
        )

    def _share(self, policy: ShareOfAnswersPolicy, answers: list[object]) -> float:
        return sum(str(answer) == policy.answer for answer in answers) / len(answers)


gate = ShareOfAnswersGate()
