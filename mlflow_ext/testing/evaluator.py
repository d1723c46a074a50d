"""The twins of `registry/evaluator.py` and `registry/results.py`: measurements by script, outcomes kept in a list."""

from collections.abc import Callable
from dataclasses import dataclass, field

from mlflow_ext.domain.gates import Evidence, GateReport
from mlflow_ext.domain.pins import Manifest
from mlflow_ext.domain.promotion import Promotion
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import ConflictError, EvaluationImpossibleError
from mlflow_ext.gates import judge
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.testing.gate_context import MemoryContext, MemoryVersion


@dataclass(slots=True)
class ScriptedEvaluator:
    """The `Evaluator` port: lets the gates judge the metrics it was told.

    Attributes:
        metrics: Metrics by version.
        faults: Raised one after the other by the next calls, before anything is measured.
        reports: Given by the next calls, one after the other, instead of judging.
        meanwhile: Called while "measuring": what the rest of the world does then.
        manifests: Files by version.
        calls: Candidate and champion of each call.
    """

    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    faults: list[Exception] = field(default_factory=list)
    reports: list[GateReport] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None
    manifests: dict[int, Manifest] = field(default_factory=dict)
    calls: list[tuple[int, int | None]] = field(default_factory=list)

    def evaluate(
        self,
        promotion: Promotion,
        candidate: ModelVersion,
        champion: ModelVersion | None,
        policy: ModelPolicy,
        cancelled: Callable[[], bool],
    ) -> GateReport:
        """Judge the metrics of both versions."""
        import pandas as pd

        self.calls.append((candidate.version, champion.version if champion else None))
        if self.faults:
            raise self.faults.pop(0)
        self.meanwhile()
        if cancelled():
            raise ConflictError("the evaluation was cancelled")
        if self.reports:
            return self.reports.pop(0)
        if candidate.version not in self.metrics:
            raise EvaluationImpossibleError(f"no evaluation data for version {candidate.version}")
        beside = self.metrics.get(champion.version) if champion else None
        evidence = Evidence(
            candidate=self.metrics[candidate.version],
            champion=beside,
            champion_version=champion.version if champion else None,
            rows=100,
            run_id=f"run-{promotion.id}",
            manifest=self.manifests[candidate.version].as_list() if candidate.version in self.manifests else None,
        )
        context = MemoryContext(
            MemoryVersion(candidate.version, evidence.candidate),
            rows=pd.DataFrame(index=range(100)),
            production=MemoryVersion(champion.version, beside) if champion and beside else None,
            production_fault="it has no metrics" if champion and not beside else None,
        )
        return GateReport(
            results=judge(policy.gates, context),
            champion_version=evidence.champion_version,
            evidence_run_id=evidence.run_id,
            details=evidence.as_dict(),
        )


@dataclass(slots=True)
class MemoryResults:
    """The `Results` port: keeps what it was told.

    Attributes:
        written: Promotion number, verdict and outcome of each call.
        faults: Raised one after the other by the next calls.
    """

    written: list[tuple[int, str, str]] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)

    def write(self, promotion: Promotion, version: ModelVersion, report: GateReport, outcome: str) -> None:
        """Keep the outcome."""
        if self.faults:
            raise self.faults.pop(0)
        self.written.append((promotion.id, report.verdict.value, outcome))
