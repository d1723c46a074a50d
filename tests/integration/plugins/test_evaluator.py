"""The gates inside `mlflow.models.evaluate`, on real models and a real server."""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_ext.domain.stages import Stage
from mlflow_ext.registry.client import MlflowRegistry
from tests.integration.registered import ROWS, constant, register

FRAME = pd.concat([ROWS.assign(target=[1.0, 2.0, 3.0])] * 10, ignore_index=True)

POLICY = """
models:
  judged:
    gates:
      - {metric: mean_absolute_error, threshold: 1.0, greater_is_better: false}
      - {metric: root_mean_squared_error, min_relative_change: 0.05, greater_is_better: false}
      - {gate: better_than_champion, metric: mean_absolute_error, minimum_rows: 10, importance: advisory}
      - {gate: documentation, importance: advisory}
"""

pytestmark = [
    # MLflow's evaluators call scikit-learn, matplotlib and pandas in ways that these deprecate
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy for the model `judged`."""
    file = tmp_path / "mlflow-ext.yaml"
    file.write_text(POLICY)
    monkeypatch.setenv("MLFLOW_EXT_CONFIG", str(file))
    monkeypatch.setenv("MPLBACKEND", "Agg")


def evaluate(model_uri: str, **how: Any) -> tuple[Any, str]:
    """Evaluate in a run of its own."""
    with mlflow.start_run() as run:
        result = mlflow.models.evaluate(model_uri, FRAME, targets="target", model_type="regressor", **how)
    return result, run.info.run_id


def test_the_gates_of_a_model_judge_an_evaluation(policy: None, client: MlflowClient, mlflow_url: str) -> None:
    """Verdict, reason and report are in the run; the version in Production is measured on the same rows."""
    champion = register(mlflow_url, "judged", constant(2.5))
    MlflowRegistry(client).set_stage("judged", champion.version, Stage.PRODUCTION)
    good, bad = register(mlflow_url, "judged", constant(2.0)), register(mlflow_url, "judged", constant(9.0))
    config = {"default": {"log_model_explainability": False}, "mlflow-ext": {"model": "judged"}}
    verdicts = {}
    for version in (good, bad):
        uri = f"models:/judged/{version.version}"
        result, run_id = evaluate(uri, evaluators=["default", "mlflow-ext"], evaluator_config=config)
        run = client.get_run(run_id)
        verdicts[version.version] = run.data.tags["mlflow_ext.gates"]
        assert result.metrics["mlflow_ext.gates.total"] == run.data.metrics["mlflow_ext.gates.total"] == 4
        report = mlflow.artifacts.load_dict(f"runs:/{run_id}/mlflow_ext/gates.json")
        assert report["champion_version"] == champion.version
        assert report["results"][1]["champion"] == pytest.approx(0.9574, abs=1e-3)
        # a sixth better on thirty rows may be chance; seven times worse is none
        assert report["results"][2]["verdict"] == ("failed" if version is bad else "inconclusive")
        assert report["results"][3]["verdict"] == "inconclusive"
        assert [one.path for one in client.list_artifacts(run_id, "mlflow_ext/gates")] == [
            report["results"][2]["picture"]
        ]
        if version is bad:
            assert "mean_absolute_error is 7" in run.data.tags["mlflow_ext.gates.reason"]
    assert verdicts == {good.version: "passed", bad.version: "failed"}


def test_alone_it_measures_what_the_gates_need(policy: None, client: MlflowClient, mlflow_url: str) -> None:
    """Without MLflow's evaluator beside it the metrics are measured all the same."""
    version = register(mlflow_url, "alone", constant(2.0))
    _, run_id = evaluate(
        f"models:/alone/{version.version}", evaluators="mlflow-ext", evaluator_config={"model": "judged"}
    )
    assert client.get_run(run_id).data.tags["mlflow_ext.gates"] == "passed"


def test_a_plain_evaluation_is_what_it_was(policy: None, client: MlflowClient, mlflow_url: str) -> None:
    """Not named, it is silent: no tag, no metric, the same result."""
    version = register(mlflow_url, "plain", constant(2.0))
    flat = {"log_model_explainability": False}
    result, run_id = evaluate(f"models:/plain/{version.version}", evaluator_config=flat)
    run = client.get_run(run_id)
    assert not [key for key in {**run.data.tags, **run.data.metrics, **result.metrics} if "mlflow_ext.gates" in key]
    assert result.metrics["mean_absolute_error"] == pytest.approx(2 / 3)


def test_a_broken_policy_file_is_said_in_words(
    client: MlflowClient, mlflow_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in `mlflow-ext.yaml` is an MLflow exception that names it."""
    file = tmp_path / "mlflow-ext.yaml"
    file.write_text("models: {judged: {gate: []}}")
    monkeypatch.setenv("MLFLOW_EXT_CONFIG", str(file))
    version = register(mlflow_url, "mistyped", constant(2.0))
    with pytest.raises(MlflowException, match="no such setting"):
        evaluate(f"models:/mistyped/{version.version}", evaluators="mlflow-ext", evaluator_config={"model": "judged"})
