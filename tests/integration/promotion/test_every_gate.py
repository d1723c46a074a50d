"""Every kind of gate in one real promotion: it judges in the evaluation process, and MLflow keeps what it found."""

import sys
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlflow_ext.domain.promotion import PromotionState
from mlflow_ext.domain.stages import Stage
from tests.integration.promotion.conftest import FRAME, GOOD, TARGET, Stack
from tests.integration.signing import publisher, registered, saved

pytestmark = pytest.mark.timeout(600)
GATES: list[dict[str, Any]] = [
    {"gate": "external", "command": [sys.executable, "-c", "print('the load test is content')"], "name": "load test"},
    {"gate": "robustness", "max_noise_loss": 0.2, "max_missing_loss": 0.9, "repeats": 1, "undecided": "failed"},
    {"gate": "provenance", "signed": True},
    {"gate": "leakage", "training": "artifact:data/evaluation.parquet", "max_shared": 0.5},
    {"gate": "performance", "max_load_s": 60, "max_memory_mb": 0.5},
]

PATIENCE_S = 250
"""So many gates take a while on a machine that does other things as well."""


def test_every_gate_judges_a_promotion_and_is_shown_in_mlflow(stack: Stack) -> None:
    """Verdicts, numbers and pictures of each are in the report, and in the run's gates.html."""
    stack.start_worker({"gates": [{"metric": "roc_auc", "threshold": 0.6}, *GATES]})
    good = stack.register(GOOD)
    stack.move(good, Stage.STAGING)
    promotion = stack.ended(good, PATIENCE_S)
    assert promotion.report is not None, promotion.reason + stack.logs()
    found = {(one["gate"], one["name"].partition(" ")[0]): one for one in promotion.report["results"]}
    said = {key: one["verdict"] for key, one in found.items()}
    reasons = "\n".join(one["reason"] for one in found.values())
    assert found["external", "load"]["reason"] == "the load test is content"
    # a logistic regression has no answer to a missing value, and the gate says so
    assert said["robustness", "accuracy_score"] == "failed", reasons
    assert "NaN" in reasons
    assert (said["provenance", "plain"], said["provenance", "signed"]) == ("passed", "failed"), reasons
    assert said["leakage", "evaluation"] == "failed"
    assert "284 of 284 evaluation rows (100.00%)" in found["leakage", "evaluation"]["reason"]
    assert said["performance", "loading"] == "passed", reasons
    assert 0 < found["performance", "loading"]["details"]["load_s"] < 60
    assert said["performance", "memory"] in ("passed", "failed"), reasons
    assert promotion.state is PromotionState.REJECTED
    assert promotion.run_id is not None
    page = Path(stack.client.download_artifacts(promotion.run_id, "gates.html", str(stack.directory))).read_text()
    artifacts = {one.path for one in stack.client.list_artifacts(promotion.run_id, "gates")}
    assert {"gates/robustness.png", "gates/provenance.png", "gates/provenance.csv"} <= artifacts
    assert page.count('src="data:image/png;base64,') >= 2
    assert "the load test is content" in page


def test_a_policy_with_publishers_promotes_what_they_signed_and_loads_nothing_else(
    stack: Stack, tmp_path: Path
) -> None:
    """Unsigned: failed before it is loaded, with the reason; signed: judged, and in Production."""
    ours = publisher(tmp_path, "ours")
    policy = {"serving": {"publishers": {"ours": str(ours.public)}}, "gates": [{"gate": "provenance", "signed": True}]}
    stack.stop_workers()
    stack.start_worker(policy)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME[GOOD], TARGET)
    directory = saved(pipeline, tmp_path / "model", input_example=FRAME[GOOD].head(2))
    rows = tmp_path / "evaluation.parquet"
    FRAME.assign(target=TARGET).to_parquet(rows, index=False)
    unsigned = registered(stack.url, stack.model, directory, data=rows).version
    ours.sign(directory)
    signed = registered(stack.url, stack.model, directory, data=rows).version
    for version in (unsigned, signed):
        stack.move(version, Stage.STAGING)
    refused, promoted = stack.ended(unsigned, PATIENCE_S), stack.ended(signed, PATIENCE_S)
    assert refused.state is PromotionState.FAILED
    assert "it is not signed" in refused.reason
    assert promoted.state is PromotionState.PROMOTED, promoted.reason + stack.logs()
    assert promoted.report is not None
    assert "ours signed exactly these files" in promoted.report["results"][1]["reason"]
