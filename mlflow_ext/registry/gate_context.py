"""The real `GateContext`: evaluation rows, both versions as they were loaded, and the MLflow run that keeps evidence.

What is measured before any gate is asked is in `measuring.py`.
"""

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure
from mlflow import MlflowClient

from mlflow_ext.domain.provenance import Provenance
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import MissingEvidenceError, NotFoundError
from mlflow_ext.gate_context import AskedFor, JudgedVersion, LoggedRequests, Registered, Rerun
from mlflow_ext.registry.client import translated
from mlflow_ext.registry.description import without_block
from mlflow_ext.registry.evaluation_data import read_table
from mlflow_ext.registry.provenance import examine
from mlflow_ext.registry.rerun import run_again
from mlflow_ext.registry.run_data import fetch_rows

FOLDER = "gates"
"""Where gates' pictures and tables are among a run's artifacts."""


@dataclass
class RunContext:
    """What gates are given.

    Attributes:
        client: Points at the server that has the run.
        run_id: Run that keeps pictures and tables.
        candidate: The version that is to go to Production.
        find_champion: Gives the version in Production, or `None`; raises when it could not be measured.
        rows: Evaluation rows.
        target: Their column with the ground truth.
        model_type: What the policy says.
        find_requests: Gives what clients sent lately; raises where there is nothing.
        version: The candidate in the registry; `None` for a model that is not registered.
        folder: Where pictures and tables are put among the run's artifacts.
        publishers: Who may sign, by the policy.
        asked_for: The promotion; `None` where a model is only evaluated.
    """

    client: MlflowClient
    run_id: str
    candidate: JudgedVersion
    find_champion: Callable[[], JudgedVersion | None]
    rows: pd.DataFrame
    target: str
    model_type: Literal["classifier", "regressor"]
    find_requests: Callable[[], LoggedRequests]
    version: ModelVersion | None = None
    folder: str = FOLDER
    publishers: Mapping[str, str] = field(default_factory=dict)
    asked_for: AskedFor | None = None
    _names: set[str] = field(default_factory=set)

    @property
    def champion(self) -> JudgedVersion | None:
        """Give the version in Production, `None` when there is none."""
        return self.find_champion()

    @cached_property
    def requests(self) -> LoggedRequests:
        """Give what clients sent lately."""
        return self.find_requests()

    def read_rows(self, source: str) -> pd.DataFrame:
        """Read other rows of the candidate's run, or of a policy's own place."""
        if self.version is None:
            raise MissingEvidenceError("the model being evaluated is not registered, so it has no other rows")
        with tempfile.TemporaryDirectory(prefix="mlflow-ext-rows-") as scratch:
            try:
                return read_table(str(fetch_rows(self.client, self.version, source, Path(scratch))))
            except NotFoundError as exc:
                raise MissingEvidenceError(str(exc)) from exc

    @cached_property
    def registered(self) -> Registered:
        """Read what the registry says about the candidate."""
        if self.version is None:
            raise MissingEvidenceError("the model being evaluated is not registered")
        with translated():
            return read_registered(self.client, self.version)

    def rerun(self, asked: Rerun, parameters: Mapping[str, str], commit: str | None) -> Mapping[str, float]:
        """Run a training project once more."""
        return run_again(asked, parameters, commit)

    def provenance(self, publishers: Mapping[str, str]) -> Provenance:
        """Examine the candidate's files."""
        directory = self.candidate.directory
        if self.version is None:
            raise MissingEvidenceError("the model being evaluated is not registered")
        return examine(directory, self.version, publishers or self.publishers)

    @property
    def promotion(self) -> AskedFor:
        """Give the promotion whose gates judge."""
        if self.asked_for is None:
            raise MissingEvidenceError("the model is evaluated without a promotion")
        return self.asked_for

    def save_picture(self, name: str, figure: Figure) -> str:
        """Log a picture and close it."""
        path = self._path(name, "png")
        with translated():
            self.client.log_figure(self.run_id, figure, path, save_kwargs={"dpi": 90, "bbox_inches": "tight"})
        pyplot.close(figure)
        return path

    def save_table(self, name: str, frame: pd.DataFrame) -> str:
        """Log rows as CSV."""
        path = self._path(name, "csv")
        with translated():
            self.client.log_text(self.run_id, frame.to_csv(index=False), path)
        return path

    def _path(self, name: str, ending: str) -> str:
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "unnamed"
        number, path = 1, f"{self.folder}/{plain}.{ending}"
        while path in self._names:
            number += 1
            path = f"{self.folder}/{plain}-{number}.{ending}"
        self._names.add(path)
        return path


def read_registered(client: MlflowClient, version: ModelVersion) -> Registered:
    """Read version, registered model and run.

    Raises:
        MlflowException: MLflow refused, or does not answer.
    """
    own = client.get_model_version(version.model, str(version.version))
    model = client.get_registered_model(version.model)
    found = Registered(
        model=version.model,
        version=version.version,
        description=without_block(own.description or ""),
        model_description=model.description or "",
        tags=dict(own.tags),
        model_tags=dict(model.tags),
    )
    if not own.run_id:
        return found
    run = client.get_run(own.run_id)
    datasets = tuple(
        {
            "name": used.dataset.name,
            "digest": used.dataset.digest,
            "source": used.dataset.source,
            "context": next((tag.value for tag in used.tags if tag.key == "mlflow.data.context"), ""),
        }
        for used in (run.inputs.dataset_inputs if run.inputs else ())
    )
    return replace(
        found,
        run_id=own.run_id,
        run_tags=dict(run.data.tags),
        run_params=dict(run.data.params),
        run_metrics=dict(run.data.metrics),
        datasets=datasets,
    )
