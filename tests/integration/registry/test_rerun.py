"""A training project run once more by a real `mlflow run`: from git at a commit, and without a trace."""

import subprocess
from pathlib import Path

import pytest

from mlflow_ext.errors import EvaluationImpossibleError
from mlflow_ext.gate_context import Rerun
from mlflow_ext.registry.rerun import run_again
from tests.integration.small_project import write_project


def commit(directory: Path, divisor: int) -> str:
    """Commit a version of the training code."""
    write_project(directory, divisor)
    identity = ["-c", "user.name=ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "-m", f"divide by {divisor}"]):
        subprocess.run(["git", *command], cwd=directory, check=True)
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project under git, on a machine whose MLflow server is away."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    return tmp_path / "project"


def asked(project: Path) -> Rerun:
    """Run it as a policy says."""
    return Rerun(f"file://{project}", "train", ("seed",), "local", 800)


@pytest.mark.timeout(900)
def test_a_project_is_run_again_at_the_commit_that_was_recorded(project: Path) -> None:
    """The code of then, not of today; its metrics come back; MLflow's server, which is away, is not asked."""
    first = commit(project, 2)
    commit(project, 4)
    assert run_again(asked(project), {"seed": "3"}, first) == {"rmse": 1.5}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_project_that_fails_says_why(project: Path) -> None:
    """The end of its output, and no metric."""
    with pytest.raises(EvaluationImpossibleError, match="ended with code 1"):
        run_again(asked(project), {"seed": "13"}, commit(project, 2))
