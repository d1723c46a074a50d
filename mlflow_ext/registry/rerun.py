"""Runs a training project once more, for the gate `reproducibility`, with a tracking store that is thrown away.

So the run leaves no trace in MLflow: no run, no registered version. The project is the policy's, the commit and the
parameters are those that the candidate's run logged. Retrainings that count are `project_runs.py`'s.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import RunStatus, ViewType

from mlflow_ext.errors import EvaluationImpossibleError, GateUnavailableError
from mlflow_ext.gate_context import Rerun

_TAIL = 500
_GIT = ("://", "git@")


def run_again(asked: Rerun, parameters: Mapping[str, str], commit: str | None) -> dict[str, float]:
    """Run a project, and give the metrics of the run it made.

    Args:
        asked: What the policy says.
        parameters: Passed to the entry point.
        commit: Of a git project.

    Raises:
        GateUnavailableError: It took too long, or was ended by a signal.
        EvaluationImpossibleError: It failed, or made no run.
    """
    with tempfile.TemporaryDirectory(prefix="mlflow-ext-rerun-") as scratch:
        store = f"sqlite:///{scratch}/mlflow.db"
        environment = {
            **os.environ,
            "MLFLOW_TRACKING_URI": store,
            "MLFLOW_REGISTRY_URI": store,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        }
        environment.pop("MLFLOW_RUN_ID", None)
        environment.pop("MLFLOW_EXPERIMENT_ID", None)
        output = Path(scratch, "output.log")
        with output.open("wb") as log:
            child = subprocess.Popen(
                _command(asked, parameters, commit), cwd=scratch, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                code = child.wait(asked.timeout_s)
            except subprocess.TimeoutExpired as exc:
                raise GateUnavailableError(f"{asked.project} took longer than {asked.timeout_s:g} s") from exc
            finally:
                _end(child)
        if code < 0:
            raise GateUnavailableError(f"{asked.project} was ended by signal {-code}")
        if code > 0:
            said = output.read_bytes()[-_TAIL:].decode(errors="replace").strip()
            raise EvaluationImpossibleError(f"{asked.project} ended with code {code}: {said}")
        return _metrics(store, asked.project)


def _command(asked: Rerun, parameters: Mapping[str, str], commit: str | None) -> list[str]:
    command = [sys.executable, "-P", "-m", "mlflow", "run", asked.project, "-e", asked.entry_point]
    command += ["--env-manager", asked.env_manager]
    if commit is not None and any(word in asked.project for word in _GIT):
        command += ["-v", commit]
    for name, value in parameters.items():
        command += ["-P", f"{name}={value}"]
    return command


def _metrics(store: str, project: str) -> dict[str, float]:
    client = MlflowClient(tracking_uri=store, registry_uri=store)
    experiments = [one.experiment_id for one in client.search_experiments(view_type=ViewType.ACTIVE_ONLY)]
    runs = client.search_runs(experiments, f"attributes.status = '{RunStatus.to_string(RunStatus.FINISHED)}'")
    found: dict[str, float] = {}
    for run in runs:
        found = {**run.data.metrics, **found}
    if not found:
        raise EvaluationImpossibleError(f"{project} ended, and no run of it logged a metric")
    return found


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End the project with all that it started."""
    import psutil

    if child.poll() is not None:
        return
    for one in psutil.Process(child.pid).children(recursive=True):
        one.kill()
    child.kill()
    child.wait()
