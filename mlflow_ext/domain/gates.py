"""What a gate says: result and report. How a gate measures lives in `gates/`."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from math import isfinite
from typing import Any


class Verdict(StrEnum):
    """The four answers of a gate. An error is not a failure: it may be tried again."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


class Importance(StrEnum):
    """What a gate's answer counts for."""

    CRITICAL = "critical"
    ADVISORY = "advisory"
    DRY_RUN = "dry_run"


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate's answer.

    Attributes:
        gate: Kind of gate, as the policy names it (`metric`).
        name: What is shown to people (`roc_auc ≥ 0.7`).
        verdict: The answer.
        reason: One sentence that a data scientist understands.
        measured: The candidate's value, in the metric's own unit.
        bound: What it had to reach, in the same unit.
        champion: The champion's value on the same rows.
        sample_size: Number of rows that were judged by.
        importance: Whether it decides, is shown only, or is on trial.
        interval: Confidence interval of `measured`, or of the difference that `details` names.
        evidence: Artifact path of a table with more.
        picture: Artifact path of a picture (PNG).
        details: Further numbers by name, ready for JSON.
        may_pass: For an error: whether its cause may pass, so that asking again may help.
    """

    gate: str
    name: str
    verdict: Verdict
    reason: str
    measured: float | None = None
    bound: float | None = None
    champion: float | None = None
    sample_size: int | None = None
    importance: Importance = Importance.CRITICAL
    interval: tuple[float, float] | None = None
    evidence: str | None = None
    picture: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    may_pass: bool = False

    @property
    def standing(self) -> str:
        """The verdict for people, with the importance where it decides nothing."""
        if self.importance is Importance.CRITICAL:
            return self.verdict.value
        return f"{self.verdict.value} ({self.importance.replace('_', ' ')})"

    def as_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "GateResult":
        """Read the form that `as_dict` gives, also from before a field was added, or after."""
        interval = document.get("interval")
        known = {name: value for name, value in document.items() if name in cls.__slots__}
        return cls(
            **{
                **known,
                "verdict": Verdict(document["verdict"]),
                "importance": Importance(document.get("importance", Importance.CRITICAL)),
                "interval": None if interval is None else (interval[0], interval[1]),
            }
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured, and what gates judge: candidate and champion on the same rows.

    Attributes:
        candidate: The candidate's metrics by name, as `mlflow.models.evaluate` gives them.
        champion: The champion's metrics; `None` without a champion, or where it could not be measured.
        champion_version: Version in Production at that time.
        champion_error: Why the champion could not be measured.
        rows: Number of evaluation rows.
        dataset: Name, digest and source of the evaluation data.
        run_id: MLflow run that holds metrics and plots.
        duration_s: Seconds that the measuring took.
        manifest: The candidate's files (`Manifest.as_list`), hashed before anything of them was loaded.
        twin: What became of the candidate's ONNX twin (`JudgedTwin.as_dict`).
    """

    candidate: dict[str, float]
    champion: dict[str, float] | None = None
    champion_version: int | None = None
    champion_error: str | None = None
    rows: int | None = None
    dataset: dict[str, str] = field(default_factory=dict)
    run_id: str | None = None
    duration_s: float | None = None
    manifest: list[list[Any]] | None = None
    twin: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form, without metrics that are not finite (JSON has no word for them)."""
        document = asdict(self)
        for side in ("candidate", "champion"):
            if document[side] is not None:
                document[side] = {name: value for name, value in document[side].items() if isfinite(value)}
        return document


@dataclass(frozen=True, slots=True)
class GateReport:
    """All gates of one promotion.

    Attributes:
        results: One result a gate, in the policy's order.
        champion_version: The Production version compared with, `None` when there was none.
        evidence_run_id: MLflow run with metrics and artifacts.
        details: Evidence for people (metrics of both sides, dataset digest).
        failure: Why nothing could be judged at all; makes the verdict an error.
    """

    results: tuple[GateResult, ...]
    champion_version: int | None = None
    evidence_run_id: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None

    @property
    def verdict(self) -> Verdict:
        """Combine the critical results: an error outranks a failure, a failure outranks doubt, and none is doubt."""
        if self.failure:
            return Verdict.ERROR
        verdicts = {result.verdict for result in self._critical}
        for verdict in (Verdict.ERROR, Verdict.FAILED, Verdict.INCONCLUSIVE):
            if verdict in verdicts:
                return verdict
        return Verdict.PASSED if verdicts else Verdict.INCONCLUSIVE

    @property
    def reason(self) -> str:
        """Join the reasons of the gates that decided."""
        if self.failure:
            return self.failure
        verdict = self.verdict
        reasons = [result.reason for result in self._critical if result.verdict is verdict]
        if reasons:
            return "; ".join(reasons)
        return (
            "no critical gate is configured for this model" if self.results else "no gate is configured for this model"
        )

    @property
    def may_pass(self) -> bool:
        """Tell whether asking the gates again may give a verdict: every cause of an error may pass."""
        errors = [result for result in self._critical if result.verdict is Verdict.ERROR]
        return not self.failure and bool(errors) and all(result.may_pass for result in errors)

    @property
    def _critical(self) -> list[GateResult]:
        return [result for result in self.results if result.importance is Importance.CRITICAL]

    def as_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form."""
        return {
            "verdict": self.verdict.value,
            "reason": self.reason,
            "results": [result.as_dict() for result in self.results],
            "champion_version": self.champion_version,
            "evidence_run_id": self.evidence_run_id,
            "details": self.details,
            "failure": self.failure,
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "GateReport":
        """Read the form that `as_dict` gives."""
        return cls(
            results=tuple(GateResult.from_dict(result) for result in document["results"]),
            champion_version=document.get("champion_version"),
            evidence_run_id=document.get("evidence_run_id"),
            details=document.get("details") or {},
            failure=document.get("failure"),
        )
