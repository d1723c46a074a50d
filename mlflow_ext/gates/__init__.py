"""The gates: each turns evidence into one result. A new gate is a file here and one line in `GATES`.

What is measured, and where, is the evaluator's business (`registry/evaluator.py`); who waits for the answer is
`lifecycle/promote.py`.
"""

from collections.abc import Callable
from typing import Any

from mlflow_ext.domain.gates import Evidence, GateReport, GateResult
from mlflow_ext.gates.metric import judge_metric
from mlflow_ext.policy import ModelPolicy

Gate = Callable[[Any, Evidence], GateResult]
"""A pure function: the gate's section of the policy and what was measured give one result."""

GATES: dict[str, Gate] = {
    "metric": judge_metric,
}
"""By the word that stands as `gate:` in the policy."""


def judge(policy: ModelPolicy, evidence: Evidence) -> GateReport:
    """Let every gate of the policy judge the evidence, in the policy's order."""
    return GateReport(
        results=tuple(GATES[section.gate](section, evidence) for section in policy.gates),
        champion_version=evidence.champion_version,
        evidence_run_id=evidence.run_id,
        details=evidence.as_dict(),
    )
