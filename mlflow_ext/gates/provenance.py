"""Where do these files come from, and are they data alone? Structure, trusted types, digests, an allowed signature.

The same checks refuse a version whenever it is loaded (`registry/artifacts.py`); here they are evidence, and may ask
for more than loading does.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.domain.provenance import Provenance
from mlflow_ext.gate_context import GateContext
from mlflow_ext.policy import GatePolicy

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 20
_NOBODY = "no publisher is allowed to sign; name some in serving.publishers, or in publishers of this gate"


class ProvenancePolicy(GatePolicy):
    """What the files must show; each demand gives a result.

    Attributes:
        gate: `provenance`.
        plain: Whether the files must be data of trusted types, as under `serving.trust: types`.
        signed: Whether an allowed publisher must have signed exactly these files.
        publishers: File with the public key (PEM, elliptic curve) by name; those of `serving.publishers` if empty.
    """

    gate: Literal["provenance"] = "provenance"
    plain: bool = True
    signed: bool = False
    publishers: dict[str, str] = Field(default_factory=dict)


class ProvenanceGate:
    """`gate: provenance`."""

    policy = ProvenancePolicy

    def judge(self, policy: ProvenancePolicy, context: GateContext) -> list[GateResult]:
        """Examine the candidate's files.

        Raises:
            MissingEvidenceError: Only the loaded model is at hand.
        """
        found = context.provenance(policy.publishers)
        files = _table(found)
        evidence, picture = context.save_table("provenance", files), _picture(files, context)
        details: dict[str, Any] = {
            "manifest_sha256": found.manifest.digest,
            "files": files.head(_SHOWN).to_dict("records"),
            "publisher": found.publisher,
            "signature": found.unsigned or None,
        }
        known = f"{len(found.manifest.files)} files, manifest {found.manifest.digest[:16]}…"
        results = [
            GateResult(
                policy.gate,
                "plain files of trusted types" if policy.plain else "files and digests",
                Verdict.FAILED if policy.plain and found.refused else Verdict.PASSED,
                found.refused or f"the files are data of trusted types, without code ({known})",
            )
        ]
        if policy.signed:
            name, missing = "signed by an allowed publisher", found.unsigned or _NOBODY
            if found.publisher is None:
                results.append(GateResult(policy.gate, name, Verdict.FAILED, missing))
            else:
                reason = f"{found.publisher} signed exactly these files ({known})"
                results.append(GateResult(policy.gate, name, Verdict.PASSED, reason))
        return [replace(result, evidence=evidence, picture=picture, details=details) for result in results]


gate = ProvenanceGate()


def _table(found: Provenance) -> "pd.DataFrame":
    import pandas as pd

    rows = [(file.path, file.size_bytes, file.sha256) for file in found.manifest.files]
    return pd.DataFrame(rows, columns=["path", "size_bytes", "sha256"])


def _picture(files: "pd.DataFrame", context: GateContext) -> str:
    from matplotlib.figure import Figure

    shown = files.nlargest(_SHOWN, "size_bytes").iloc[::-1]
    figure = Figure(figsize=(6.4, 0.8 + 0.24 * len(shown)), layout="constrained")
    axes = figure.subplots()
    labels = [f"{row.path}  {str(row.sha256)[:10]}" for row in shown.itertuples()]
    axes.barh(labels, shown["size_bytes"].clip(lower=1), color="#2f6fb7")
    axes.set_xscale("log")
    axes.set_xlabel("bytes")
    axes.tick_params(labelsize="small")
    return context.save_picture("provenance", figure)
