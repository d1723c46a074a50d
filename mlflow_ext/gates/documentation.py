"""Does the registry say what the version is for, whose it is, and how much risk it carries?

What is written where is MLflow's: the description and the tags of the version, else those of the registered model.
"""

from typing import Literal

from pydantic import Field

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.gate_context import GateContext, Registered
from mlflow_ext.policy import GatePolicy

_VALUES: dict[str, tuple[str, ...]] = {"risk_class": ("minimal", "limited", "high")}


class DocumentationPolicy(GatePolicy):
    """What must be written.

    Attributes:
        gate: `documentation`.
        min_characters: Least length of the description, of the version or of the model; without our own block.
        tags: Tags that the version or the model must have.
        values: Allowed values by tag; compared without regard to case.
    """

    gate: Literal["documentation"] = "documentation"
    min_characters: int = Field(default=40, ge=0)
    tags: tuple[str, ...] = ("owner", "intended_use", "risk_class")
    values: dict[str, tuple[str, ...]] = Field(default=_VALUES)

    @property
    def title(self) -> str:
        """What is asked."""
        parts = [f"description of {self.min_characters} characters"] if self.min_characters else []
        return f"documented: {', '.join([*parts, *self.tags])}"


class DocumentationGate:
    """`gate: documentation`."""

    policy = DocumentationPolicy

    def judge(self, policy: DocumentationPolicy, context: GateContext) -> GateResult:
        """Name everything that is missing."""
        registered = context.registered
        missing = gaps(policy, registered)
        reason = f"{registered.model} version {registered.version} is documented"
        if missing:
            reason = (
                f"{'; '.join(missing)}. Write it at version {registered.version}, or at the registered model "
                f"{registered.model}, in MLflow"
            )
        return GateResult(
            gate=policy.gate,
            name=policy.title,
            verdict=Verdict.FAILED if missing else Verdict.PASSED,
            reason=reason,
            measured=len(missing),
            bound=0,
            details={"missing": missing, **{tag: registered.tag(tag) for tag in policy.tags}},
        )


gate = DocumentationGate()


def gaps(policy: DocumentationPolicy, registered: Registered) -> list[str]:
    """Say what is missing, one phrase each."""
    found = []
    longest = max(len(registered.description.strip()), len(registered.model_description.strip()))
    if longest < policy.min_characters:
        found.append(f"the description has {longest} characters and needs {policy.min_characters}")
    for tag in policy.tags:
        value = registered.tag(tag)
        allowed = policy.values.get(tag, ())
        if not value:
            hint = f" ({', '.join(allowed)})" if allowed else ""
            found.append(f"there is no tag {tag}{hint}")
        elif allowed and value.casefold() not in {one.casefold() for one in allowed}:
            found.append(f"the tag {tag} is '{value}' and must be one of {', '.join(allowed)}")
    return found
