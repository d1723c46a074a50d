"""The notebook in examples/ works as it stands, against a running stack."""

import sys
from pathlib import Path

import nbformat
import pytest
from mlflow import MlflowClient
from nbclient import NotebookClient

from tests.acceptance.running import Up

POLICIES = {
    "notebook-wine": {
        "gates": [{"metric": "accuracy_score", "threshold": 0.9}],
        "drift": {"minimum_rows": 100},
    }
}
NOTEBOOK = Path(__file__).parents[2] / "examples" / "lifecycle.ipynb"


def test_the_notebook_is_kept_without_outputs() -> None:
    """What it prints belongs to whoever runs it."""
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


@pytest.mark.timeout(600)
# Jupyter's own client: https://github.com/jupyter/jupyter_client/issues
@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client")
def test_the_notebook_runs_from_logging_to_the_drift_history(stack: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    """It logs, registers, has one version refused and one promoted, scores, and reads the drift check's run."""
    bin_directory = str(Path(sys.executable).parent)
    for name, value in {
        **stack.environment,
        "PATH": f"{bin_directory}:{stack.environment['PATH']}",
        "MODEL": "notebook-wine",
        "MLFLOW_TRACKING_URI": stack.mlflow_url,
        "MLFLOW_REGISTRY_URI": stack.mlflow_url,
        "MLFLOW_EXT_SERVING_URL": stack.serving_url,
    }.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # in the stack's directory, so that its mlflow-ext.yaml and its data directory are found
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(stack.directory)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "\n".join(
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in shown
        if output.output_type != "error"
    )
    assert "rejected" in text
    assert "accuracy_score" in text
    assert "promoted" in text
    client = MlflowClient(stack.mlflow_url, stack.mlflow_url)
    assert client.get_model_version("notebook-wine", "2").current_stage == "Production"
    experiment = client.get_experiment_by_name("mlflow-ext/drift/notebook-wine")
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id], "tags.`mlflow_ext.verdict` != ''")) == 1
