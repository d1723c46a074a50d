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
from mlflow_ext.ports import RegistryView
from mlflow_ext.registry.client import translated
from mlflow_ext.retraining_policy import RetrainingPolicy

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
        self, trigger_id: int, model: str, policy: RetrainingPolicy, parameters: Mapping[str, str]
    ) -> list[str]:
        """Write the command line."""
        command = [sys.executable, "-P", "-m", "mlflow", "run", policy.project or "", "-e", policy.entry_point]
        command += ["--env-manager", policy.env_manager, "--run-name", _run_name(trigger_id, model)]
        command += ["--backend", policy.backend]
        if policy.backend_config is not None:
            command += ["--backend-config", policy.backend_config]
        if policy.version is not None:
            command += ["-v", policy.version]
        for name, value in parameters.items():
            command += ["-P", f"{name}={value}"]
        return command

    def environment(self, trigger_id: int) -> dict[str, str]:
        """Give what the project's process is told besides its parameters.

        With `--env-manager local` a project's `python` is the first one on PATH: that has to be this environment's.
        """
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        return {"MLFLOW_TRACKING_URI": self.mlflow_url, TRIGGER_VARIABLE: str(trigger_id), "PATH": path}

    def in_experiment_of(self, served: ModelVersion | None) -> list[str]:
        """Give the part of the command line that puts the run where the run of the served version is."""
        if served is None or served.run_id is None:
            return []
        with translated():
            return ["--experiment-id", self.client.get_run(served.run_id).info.experiment_id]

    def mark(self, trigger_id: int, model: str) -> bool:
        """Tag the run that the command made with the trigger; False while there is none.

        `mlflow run` asks no run context provider, so the run is known by its name until it has its tag. Runs that the
        project starts besides have the tag from the provider.
        """
        found = self._search(f"attributes.run_name = '{_run_name(trigger_id, model)}'")
        for run in found:
            if RUN_TAG not in run.data.tags:
                with translated():
                    self.client.set_tag(run.info.run_id, RUN_TAG, str(trigger_id))
        return any(run.info.status in _UNFINISHED for run in found)

    def outcome(self, trigger_id: int, model: str) -> ModelVersion | None:
        """Find the newest version of the model that a run of this retraining registered."""
        self.mark(trigger_id, model)
        runs = {run.info.run_id for run in self._runs(trigger_id)}
        return next((version for version in self.view.versions(model) if version.run_id in runs), None)

    def abandon(self, trigger_id: int) -> None:
        """Mark runs that a killed attempt left unfinished as killed."""
        for run in self._runs(trigger_id):
            if run.info.status in _UNFINISHED:
                with translated():
                    self.client.set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.KILLED))

    def _runs(self, trigger_id: int) -> list[Run]:
        return self._search(f"tags.`{RUN_TAG}` = '{trigger_id}'")

    def _search(self, condition: str) -> list[Run]:
        with translated():
            experiments = [one.experiment_id for one in _every_experiment(self.client)]
            return list(self.client.search_runs(experiments, condition, ViewType.ACTIVE_ONLY, max_results=100))


def _run_name(trigger_id: int, model: str) -> str:
    return f"retraining {trigger_id} of {model}".replace("'", "_")


def _every_experiment(client: MlflowClient) -> list[Experiment]:
    page = client.search_experiments(view_type=ViewType.ACTIVE_ONLY, max_results=1000)
    every = list(page)
    while page.token:
        page = client.search_experiments(view_type=ViewType.ACTIVE_ONLY, max_results=1000, page_token=page.token)
        every += page
    return every
