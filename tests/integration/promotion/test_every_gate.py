"""Every kind of gate in one real promotion: it judges in the evaluation process, and MLflow keeps what it found."""

import sys
from pathlib import Path
from typing import Any

from mlflow_ext.domain.promotion import PromotionState
from mlflow_ext.domain.stages import Stage
from tests.integration.promotion.conftest import GOOD, Stack

GATES: list[dict[str, Any]] = [
    {"gate": "external", "command": [sys.executable, "-c", "print('the load test is content')"], "name": "load test"},
    {"gate": "robustness", "max_noise_loss": 0.2, "max_missing_loss": 0.9, "repeats": 1, "undecided": "failed"},
    {"gate": "robustness", "max_evasion": 1.0, "evasion_rows": 10, "importance": "advisory"},
]


def test_every_gate_judges_a_promotion_and_is_shown_in_mlflow(stack: Stack) -> None:
    """Verdicts, numbers and pictures of each are in the report, and in the run's gates.html."""
    stack.start_worker({"gates": [{"metric": "roc_auc", "threshold": 0.6}, *GATES]})
    weak, good = stack.register(GOOD[:4]), stack.register(GOOD)
    stack.move(weak, Stage.PRODUCTION)
    stack.move(good, Stage.STAGING)
    promotion = stack.ended(good)
    assert promotion.report is not None, promotion.reason + stack.logs()
    found = {(one["gate"], one["name"].partition(" ")[0]): one for one in promotion.report["results"]}
    said = {key: one["verdict"] for key, one in found.items()}
    reasons = "\n".join(one["reason"] for one in found.values())
    assert found["external", "load"]["reason"] == "the load test is content"
    # a logistic regression has no answer to a missing value, and the gate says so
    assert said["robustness", "accuracy_score"] == "failed", reasons
    assert "NaN" in reasons
    assert said["robustness", "labels"] == "passed", reasons
    assert promotion.state is PromotionState.REJECTED
    assert promotion.run_id is not None
    page = Path(stack.client.download_artifacts(promotion.run_id, "gates.html", str(stack.directory))).read_text()
    artifacts = {one.path for one in stack.client.list_artifacts(promotion.run_id, "gates")}
    assert {"gates/robustness.png", "gates/evasion.png"} <= artifacts
    assert page.count('src="data:image/png;base64,') >= 2
    assert "the load test is content" in page
