"""MLflow Projects that a retraining runs: the command line, and which version came of it."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, RunStatus, ViewType

from mlflow_ext.domain.retraining import RUN_TAG, TRIGGER_VARIABLE
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.policy import RetrainingPolicy
from mlflow_ext.ports import RegistryView
from mlflow_ext.registry.client import translated

_UNFINISHED = {RunStatus.to_string(RunStatus.RUNNING), RunStatus.to_string(RunStatus.SCHEDULED)}


@dataclass(frozen=True, slots=True)
class ProjectRuns:
    """Runs of projects, as MLflow knows them. Every method raises `UnavailableError` when MLflow does not answer.

    Attributes:
        client: MLflow's client.
        view: The registry.
        mlflow_url: Address of MLflow's server, for the project's process.
    """

    client: MlflowClient
    view: RegistryView
    mlflow_url: str

    def command(
        self, policy: RetrainingPolicy, parameters: Mapping[str, str], served: ModelVersion | None
    ) -> list[str]:
        """Write the command line; the run goes where the run of the served version went."""
        command = [sys.executable, "-P", "-m", "mlflow", "run", policy.project or "", "-e", policy.entry_point]
        command += ["--env-manager", policy.env_manager]
        if policy.version is not None:
            command += ["-v", policy.version]
        if served is not None and served.run_id is not None:
            with translated():
                command += ["--experiment-id", self.client.get_run(served.run_id).info.experiment_id]
        for name, value in parameters.items():
            command += ["-P", f"{name}={value}"]
        return command

    def environment(self, trigger_id: int) -> dict[str, str]:
        """Give what the project's process is told besides its parameters."""
        # `--env-manager local` means this environment, also where it was never activated: `python` is looked up on PATH
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {"PATH": path, "MLFLOW_TRACKING_URI": self.mlflow_url, TRIGGER_VARIABLE: str(trigger_id)}

    def outcome(self, trigger_id: int, model: str) -> ModelVersion | None:
        """Find the newest version of the model that a run of this retraining registered."""
        runs = {run.info.run_id for run in self._runs(trigger_id)}
        return next((version for version in self.view.versions(model) if version.run_id in runs), None)

    def abandon(self, trigger_id: int) -> None:
        """Mark runs that a killed attempt left unfinished as killed."""
        for run in self._runs(trigger_id):
            if run.info.status in _UNFINISHED:
                with translated():
                    self.client.set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.KILLED))

    def _runs(self, trigger_id: int) -> list[Run]:
        with translated():
            experiments = [one.experiment_id for one in _every_experiment(self.client)]
            found = self.client.search_runs(
                experiments, f"tags.`{RUN_TAG}` = '{trigger_id}'", ViewType.ACTIVE_ONLY, max_results=100
            )
            return list(found)


def _every_experiment(client: MlflowClient) -> list[Experiment]:
    page = client.search_experiments(view_type=ViewType.ACTIVE_ONLY, max_results=1000)
    every = list(page)
    while page.token:
        page = client.search_experiments(view_type=ViewType.ACTIVE_ONLY, max_results=1000, page_token=page.token)
        every += page
    return every
