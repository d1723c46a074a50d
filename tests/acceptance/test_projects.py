"""`mlflow run` of the projects from a git URL, as a data scientist or the retraining executor starts them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from breast_cancer.data import load
from flights import data
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.registry.artifacts import fetch
from tests.integration.registered import pointed_at

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
Start = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Git URL of a repository with what this checkout holds now, committed or not."""
    directory = tmp_path_factory.mktemp("repository")
    for name in ("MLproject", "python_env.yaml", "requirements.lock"):
        shutil.copy(ROOT / name, directory)
    shutil.copytree(ROOT / "projects", directory / "projects", ignore=shutil.ignore_patterns("__pycache__", "mlruns"))
    git = ["git", "-C", str(directory), "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "As it is now"]):
        subprocess.run([*git, *command], check=True)
    return directory.as_uri()


@pytest.fixture(scope="module")
def start(repository: str, mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Run an entry point and give what it printed: the registered version and its run."""
    directory = tmp_path_factory.mktemp("caller")

    def run(project: str, entry: str, *, env_manager: str = "local", **parameters: object) -> dict[str, Any]:
        result = subprocess.run(
            [
                *(sys.executable, "-m", "mlflow", "run", f"{repository}{project}", "--entry-point", entry),
                *("--env-manager", env_manager, "--experiment-name", "projects"),
                *(argument for key, value in parameters.items() for argument in ("-P", f"{key}={value}")),
            ],
            cwd=directory,
            env={
                # what other tests in this process told MLflow is not meant for the project
                **{key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")},
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
                "MLFLOW_TRACKING_URI": mlflow_url,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_ENV_ROOT": str(directory / "environments"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise AssertionError(f"mlflow run ended with {result.returncode}\n{result.stdout}\n{result.stderr}")
        assert "Warning" not in result.stderr
        lines = [line for line in result.stdout.splitlines() if line.startswith("{")]
        printed: dict[str, Any] = json.loads(lines[-1])
        return printed

    return run


@pytest.fixture(scope="module")
def client(mlflow_url: str) -> MlflowClient:
    """A client of the server that the projects register at."""
    return MlflowClient(tracking_uri=mlflow_url, registry_uri=mlflow_url)


@pytest.fixture(scope="module")
def good(start: Start) -> dict[str, Any]:
    """A version of flights, trained with the defaults."""
    return start("#projects/flights", "train", model_name="flights-projects")


@pytest.fixture(scope="module")
def recent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the platform exports for retraining: flights of July in order, some without an outcome yet."""
    rows = data.between(data.load(), pd.Timestamp("2013-07-01"), pd.Timestamp("2013-07-10"))[
        [*data.FEATURES, data.TARGET]
    ].astype({data.TARGET: "float64"})
    rows.loc[rows.index[-500:], data.TARGET] = None
    path = tmp_path_factory.mktemp("recent") / "recent.parquet"
    rows.assign(request_id="r").to_parquet(path)
    return path


@pytest.fixture(scope="module")
def retrained(start: Start, good: dict[str, Any], recent: Path) -> dict[str, Any]:
    """The next version of flights, which has seen July."""
    assert good["version"] == 1
    return start("#projects/flights", "retrain", model_name="flights-projects", recent=recent)


def frame(client: MlflowClient, run_id: str, name: str, into: Path) -> pd.DataFrame:
    """Download one of the Parquet artifacts of a run."""
    return pd.read_parquet(client.download_artifacts(run_id, f"data/{name}.parquet", str(into)))


def loaded(client: MlflowClient, version: dict[str, Any], into: Path) -> mlflow.pyfunc.PyFuncModel:
    """Load a version the way the platform does: fetched and judged under `trust: types` first."""
    found = client.get_model_version(version["model"], str(version["version"]))
    directory = fetch(client, ModelVersion(found.name, int(found.version), source=found.source), into, trust="types")
    return mlflow.pyfunc.load_model(str(directory))


def test_a_run_holds_everything_that_comes_after_training(
    good: dict[str, Any], client: MlflowClient, tmp_path: Path
) -> None:
    """Parameters, metrics, datasets, evaluation and reference rows, git commit; a version without a stage."""
    run: Run = client.get_run(good["run_id"])
    assert run.data.params["variant"] == "good"
    assert run.data.params["classifier__max_iter"] == "100"
    assert "training_roc_auc" in run.data.metrics
    assert run.data.metrics["evaluation_roc_auc"] == pytest.approx(good["evaluation_roc_auc"], abs=1e-4)
    assert run.data.tags["mlflow.source.git.commit"]
    assert [one.tags[0].value for one in run.inputs.dataset_inputs] == ["training", "evaluation"]
    evaluation, reference = (frame(client, run.info.run_id, name, tmp_path) for name in ("evaluation", "reference"))
    assert list(evaluation.columns) == [column for column in reference.columns if "prediction" not in column]
    assert evaluation["target"].isin([0, 1]).all()
    assert reference["prediction"].between(0, 1).all()
    assert len(reference) == 5_000
    version = client.get_model_version("flights-projects", str(good["version"]))
    assert version.current_stage == "None"
    assert version.run_id == good["run_id"]


def test_the_model_loads_under_trust_types_and_enforces_its_signature(
    good: dict[str, Any], client: MlflowClient, tmp_path: Path
) -> None:
    """No pickle is needed; two probabilities a row; a number where a category belongs is refused."""
    model = loaded(client, good, tmp_path / "models")
    evaluation = frame(client, good["run_id"], "evaluation", tmp_path)
    features = evaluation.drop(columns="target")
    assert model.metadata.signature.inputs.input_names() == list(features.columns)
    assert model.input_example is not None
    answers = model.predict(features.head(50))
    assert answers.shape == (50, 2)
    assert answers.sum(axis=1) == pytest.approx(1)
    with pytest.raises(MlflowException, match="carrier"):
        model.predict(features.head(2).assign(carrier=1.0))
    with pytest.raises(MlflowException, match="missing inputs"):
        model.predict(features.head(2).drop(columns="dest"))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # MLflow 3.17 calls scikit-learn 1.9 by names it has deprecated
def test_mlflow_evaluate_finds_labels_and_probabilities(
    good: dict[str, Any], client: MlflowClient, mlflow_url: str, tmp_path: Path
) -> None:
    """A model that answers with probabilities still gives gates both `roc_auc` and `f1_score`."""
    rows = frame(client, good["run_id"], "evaluation", tmp_path)
    with pointed_at(mlflow_url), mlflow.start_run():
        result = mlflow.models.evaluate(
            loaded(client, good, tmp_path / "models"),
            rows,
            targets="target",
            model_type="classifier",
            evaluators="default",
            evaluator_config={"log_model_explainability": False},
        )
    assert result.metrics["roc_auc"] == pytest.approx(good["evaluation_roc_auc"], abs=1e-3)
    assert 0 <= result.metrics["f1_score"] <= 1


def test_retraining_learns_from_recent_rows_and_is_judged_on_the_newest(
    retrained: dict[str, Any], client: MlflowClient, recent: Path, tmp_path: Path
) -> None:
    """The newest quarter of the recent rows with an outcome is held out; the others are the reference."""
    rows = pd.read_parquet(recent).dropna(subset=["target"])
    cut = len(rows) - round(len(rows) * 0.25)
    assert (retrained["version"], retrained["training_rows"]) == (2, 20_000 + cut)
    evaluation = frame(client, retrained["run_id"], "evaluation", tmp_path)
    expected = rows.iloc[cut:][evaluation.columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(evaluation, expected, check_dtype=False)
    reference = frame(client, retrained["run_id"], "reference", tmp_path)
    assert reference["temp"].min() > 60, "winter is not what production is compared with any more"


def test_the_repository_itself_is_a_project(start: Start, client: MlflowClient) -> None:
    """`mlflow run <git url>` without a subdirectory trains flights; here a bad candidate."""
    bad = start("", "train", model_name="flights-root", label_noise=1, rows=5_000)
    assert bad["evaluation_roc_auc"] < 0.57
    assert client.get_model_version("flights-root", "1").current_stage == "None"


def test_breast_cancer_runs_in_an_environment_of_its_own(start: Start, client: MlflowClient, tmp_path: Path) -> None:
    """Made by uv from the python_env.yaml, without our package, it registers a version that loads under trust types."""
    version = start("#projects/breast_cancer", "train", env_manager="uv", model_name="cancer-uv")
    assert version["evaluation_roc_auc"] > 0.95
    assert loaded(client, version, tmp_path).predict(
        frame(client, version["run_id"], "evaluation", tmp_path).drop(columns="target").head(3)
    ).shape == (3, 2)


def test_breast_cancer_retrains(start: Start, client: MlflowClient, tmp_path: Path) -> None:
    """The small project has the same entry points: the newest quarter of the recent rows is held out."""
    load(1).head(200).to_parquet(tmp_path / "recent.parquet")
    better = start("#projects/breast_cancer", "retrain", model_name="cancer", recent=tmp_path / "recent.parquet")
    assert better["evaluation_roc_auc"] > 0.95
    assert len(frame(client, better["run_id"], "evaluation", tmp_path)) == 50


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pyenv") is None, reason="MLflow's virtualenv environments are made by pyenv")
@pytest.mark.timeout(1200)
def test_breast_cancer_runs_in_a_virtualenv(start: Start) -> None:
    """`--env-manager virtualenv` works where pyenv is installed; it may compile a Python."""
    assert start("#projects/breast_cancer", "train", env_manager="virtualenv", model_name="cancer-venv")["version"] == 1
