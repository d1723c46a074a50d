"""The frame: every gate judges, whatever the others do, and only critical results decide."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlflow_ext import gates
from mlflow_ext.domain.gates import GateReport, GateResult, Importance, Verdict
from mlflow_ext.errors import EvaluationImpossibleError, GateUnavailableError, MissingEvidenceError, UnavailableError
from mlflow_ext.gate_kinds import gate_named, known_gates
from mlflow_ext.policy import GatePolicy, ModelPolicy
from mlflow_ext.testing import MemoryContext, MemoryVersion

CONTEXT = MemoryContext(
    MemoryVersion(3, {"auc": 0.8}), pd.DataFrame({"target": [0, 1]}), MemoryVersion(2, {"auc": 0.7})
)
results = st.builds(
    GateResult,
    gate=st.just("metric"),
    name=st.text(max_size=5),
    verdict=st.sampled_from(Verdict),
    reason=st.text(max_size=5),
    importance=st.sampled_from(Importance),
    interval=st.none() | st.tuples(st.floats(-1, 0), st.floats(0, 1)),
)


class OwnPolicy(GatePolicy):
    """A section for a gate made in a test."""

    gate: Literal["own"] = "own"


@dataclass
class OwnGate:
    """A gate that does what the test says."""

    act: Callable[[], Any]
    policy: type[GatePolicy] = OwnPolicy

    def judge(self, policy: GatePolicy, context: Any) -> Any:
        """Do it."""
        return self.act()


def judged(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any], importance: Any = "critical") -> list[GateResult]:
    """Let a gate made in the test judge before a metric gate."""
    found = {"own": OwnGate(act)}
    monkeypatch.setattr(gates, "gate_named", lambda word: found.get(word) or gate_named(word))
    [metric] = ModelPolicy.model_validate({"gates": [{"metric": "auc", "threshold": 0.5}]}).gates
    *mine, last = gates.judge([OwnPolicy(importance=importance), metric], CONTEXT)
    assert last.verdict is Verdict.PASSED
    return mine


def raising(exc: Exception) -> Callable[[], Any]:
    """A gate that raises."""

    def act() -> Any:
        raise exc

    return act


@pytest.mark.parametrize(
    ("act", "verdict", "words", "may_pass"),
    [
        (raising(MissingEvidenceError("none were logged")), Verdict.INCONCLUSIVE, "none were logged", False),
        (raising(EvaluationImpossibleError("its code failed")), Verdict.ERROR, "its code failed", False),
        (raising(GateUnavailableError("no answer")), Verdict.ERROR, "no answer", True),
        (raising(ConnectionResetError("by peer")), Verdict.ERROR, "own: ConnectionResetError: by peer", True),
        (list, Verdict.ERROR, "gave no result", False),
    ],
)
def test_one_gate_that_goes_wrong_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any], verdict: Verdict, words: str, may_pass: bool
) -> None:
    """Missing evidence is doubt, anything else an error, for now or for good; the next gate judges all the same."""
    [result] = judged(monkeypatch, act)
    assert (result.gate, result.verdict) == ("own", verdict)
    assert words in result.reason
    assert GateReport((result,)).may_pass is result.may_pass is may_pass


def test_a_part_that_does_not_answer_stops_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow away is no result: the promotion is tried again as a whole."""
    with pytest.raises(UnavailableError):
        judged(monkeypatch, raising(UnavailableError("MLflow does not answer")))


def test_what_a_gate_answers_is_made_fit_for_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's numbers become Python's, what is not finite goes, and the policy says what the result counts for."""
    given_ = GateResult(
        gate="own",
        name="mine",
        verdict=Verdict.FAILED,
        reason="too big",
        measured=np.float64(2),
        bound=float("inf"),
        sample_size=np.int64(7),  # type: ignore[arg-type]  # what a gate of one's own may well give
        interval=(np.float64(1), np.float64(3)),
        details={"by group": np.array([1.0, np.nan]), "n": np.int32(3), "odd": {1, 2}, 5: (np.bool_(True),)},
    )
    first, second = judged(monkeypatch, lambda: [given_, given_], importance="advisory")
    assert first == second
    assert (first.measured, first.bound, first.sample_size, first.interval) == (2.0, None, 7, (1.0, 3.0))
    assert first.details == {"by group": [1.0, None], "n": 3, "odd": "{1, 2}", "5": [True]}
    assert first.importance is Importance.ADVISORY
    assert GateReport((first, second)).verdict is Verdict.INCONCLUSIVE
    assert GateReport((first,)).reason == "no critical gate is configured for this model"


@given(st.lists(results, max_size=6).map(tuple))
def test_only_critical_results_decide(found: tuple[GateResult, ...]) -> None:
    """The verdict is that of the critical results alone, and a report survives being stored."""
    critical = tuple(one for one in found if one.importance is Importance.CRITICAL)
    report = GateReport(found)
    assert report.verdict is GateReport(critical).verdict
    worst = [v for v in (Verdict.ERROR, Verdict.FAILED, Verdict.INCONCLUSIVE) if v in {one.verdict for one in critical}]
    assert report.verdict is (worst[0] if worst else Verdict.PASSED if critical else Verdict.INCONCLUSIVE)
    assert GateReport.from_dict(report.as_dict()) == report


def test_a_report_of_another_version_is_read() -> None:
    """Reports from before importance keep their meaning, and a field that is not known yet does not disturb."""
    old = {"gate": "metric", "name": "auc", "verdict": "failed", "reason": "no", "measured": 0.1, "new": 3}
    report = GateReport.from_dict({"results": [old]})
    assert (report.verdict, report.results[0].importance) == (Verdict.FAILED, Importance.CRITICAL)


def test_a_policy_reads_each_section_with_the_gates_own_class() -> None:
    """The word finds the gate; without a word it is a metric; the policy's hash covers every bound."""
    policy = ModelPolicy.model_validate({"gates": [{"metric": "auc", "threshold": 0.5, "importance": "advisory"}]})
    [section] = policy.gates
    assert (type(section), section.importance) == (gate_named("metric").policy, "advisory")
    again = ModelPolicy.model_validate(policy.model_dump(mode="json"))
    assert (again, again.digest) == (policy, policy.digest)
    other = ModelPolicy.model_validate({"gates": [{"metric": "auc", "threshold": 0.6, "importance": "advisory"}]})
    assert other.digest != policy.digest


def test_mistakes_in_a_gates_section_are_named_where_they_are() -> None:
    """An unknown word lists the known ones; a wrong bound is named with its place in the file."""
    with pytest.raises(ValidationError) as raised:
        ModelPolicy.model_validate(
            {"gates": [{"gate": "metrics"}, "metric", {"metric": "auc"}, {"metric": "auc", "threshold": "x", "y": 1}]}
        )
    found = {".".join(map(str, error["loc"])): error["msg"] for error in raised.value.errors()}
    assert "metric" in known_gates()
    assert "gate metrics: no such gate; known are" in found["gates.0"]
    assert "a gate is a mapping, such as {gate: metric, metric: roc_auc}" in found["gates.1"]
    assert "needs threshold" in found["gates.2"]
    assert set(found) == {"gates.0", "gates.1", "gates.2", "gates.3.threshold", "gates.3.y"}
