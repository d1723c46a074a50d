"""Can clients go on sending what they send today? The candidate's signature beside that of the version in Production.

What a change means to clients is in `domain/signature.py`.
"""

from typing import Literal

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.domain.signature import Change, changes
from mlflow_ext.errors import MissingEvidenceError
from mlflow_ext.gate_context import GateContext
from mlflow_ext.policy import GatePolicy

_NAMED = 5


class SignaturePolicy(GatePolicy):
    """A comparison of signatures.

    Attributes:
        gate: `signature`.
        accept: Input columns whose change the clients know of.
        accept_output: Whether the clients know of a change of the output.
    """

    gate: Literal["signature"] = "signature"
    accept: tuple[str, ...] = ()
    accept_output: bool = False

    @property
    def title(self) -> str:
        """What is asked."""
        return "signature takes what clients send today"


class SignatureGate:
    """`gate: signature`."""

    policy = SignaturePolicy

    def judge(self, policy: SignaturePolicy, context: GateContext) -> GateResult:
        """Name every change, and fail for those that clients would notice.

        Raises:
            MissingEvidenceError: The version in Production has no signature, so nobody knows what clients send.
        """

        def result(
            verdict: Verdict, reason: str, found: list[Change], breaking: int, evidence: str | None = None
        ) -> GateResult:
            return GateResult(
                gate=policy.gate,
                name=policy.title,
                verdict=verdict,
                reason=reason,
                measured=breaking,
                bound=0,
                evidence=evidence,
                details={"changes": [change.as_dict() for change in found]},
            )

        after = context.candidate.signature
        if after is None:
            return result(
                Verdict.FAILED, "the candidate has no signature; log it with one (signature or input_example)", [], 1
            )
        champion = context.champion
        if champion is None:
            return result(Verdict.PASSED, "there is no version in Production whose clients could notice", [], 0)
        if champion.signature is None:
            raise MissingEvidenceError(
                f"version {champion.version} in Production has no signature to compare the candidate's with"
            )
        found = changes(champion.signature, after)
        breaking = [change for change in found if change.breaks and not _accepted(change, policy)]
        evidence = None
        if found:
            import pandas as pd

            evidence = context.save_table("signature", pd.DataFrame([change.as_dict() for change in found]))
        if breaking:
            return result(Verdict.FAILED, f"clients would notice: {_told(breaking)}", found, len(breaking), evidence)
        told = f"no client would notice: {_told(found)}" if found else "the signature is that of Production"
        return result(Verdict.PASSED, told, found, 0, evidence)


gate = SignatureGate()


def _accepted(change: Change, policy: SignaturePolicy) -> bool:
    return policy.accept_output if change.side == "output" else change.column in policy.accept


def _told(found: list[Change]) -> str:
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return "; ".join(map(str, found[:_NAMED])) + more
