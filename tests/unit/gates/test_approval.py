"""The approval gate: it waits for people, and a failure of another gate still rejects."""

import pandas as pd
import pytest
from pydantic import ValidationError

from mlflow_ext.domain.approval import Requirement, requirement
from mlflow_ext.domain.gates import GateReport, Verdict
from mlflow_ext.gates import judge
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.testing import MemoryContext, MemoryVersion

GATES = [{"metric": "auc", "threshold": 0.5}, {"gate": "approval", "people": 2, "four_eyes": True}]


@pytest.mark.parametrize(("auc", "verdict"), [(0.6, Verdict.INCONCLUSIVE), (0.4, Verdict.FAILED)])
def test_people_are_asked_only_for_what_the_gates_let_through(auc: float, verdict: Verdict) -> None:
    """The report waits for two people, not the author; where a metric fails there is nothing to approve."""
    policy = ModelPolicy.model_validate({"gates": GATES})
    context = MemoryContext(MemoryVersion(2, metrics={"auc": auc}), pd.DataFrame({"target": [0, 1]}))
    report = GateReport(judge(policy.gates, context))
    assert report.verdict is verdict
    assert requirement(report.as_dict()) == Requirement(2, four_eyes=True)
    if verdict is Verdict.INCONCLUSIVE:
        assert report.reason == "the policy asks that two people agree, not the author"


def test_one_or_two_people() -> None:
    """Other numbers are mistakes in the policy."""
    with pytest.raises(ValidationError):
        ModelPolicy.model_validate({"gates": [{"gate": "approval", "people": 3}]})
