"""Models with evaluation data on a real MLflow server, and real promotion workers as processes."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from mlflow import MlflowClient
from pydantic import SecretStr
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlflow_ext.bootstrap import Lifecycle, lifecycle, services
from mlflow_ext.config import Settings
from mlflow_ext.domain.promotion import Promotion
from mlflow_ext.domain.stages import Stage
from tests.conftest import wait_until
from tests.integration.registered import pointed_at

FRAME, TARGET = load_breast_cancer(as_frame=True, return_X_y=True)
GOOD = list(FRAME.columns[:8])
WEAK = ["mean fractal dimension", "texture error"]
GATES = {
    "gates": [
        {"metric": "roc_auc", "threshold": 0.6, "min_absolute_change": 0.0},
        {"gate": "better_than_champion", "ask": "non_inferior", "margin": 0.02, "importance": "advisory"},
        {"gate": "behaviour", "min_agreement": 0.9, "importance": "advisory"},
    ]
}
LEASE_S = 2.0


@dataclass
class Stack:
    """MLflow, a database and what a worker needs; each test has a model of its own."""

    url: str
    database_url: str
    directory: Path
    model: str
    client: MlflowClient
    parts: Lifecycle
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def register(self, columns: list[str], *, data: bool = True, pipeline: Any = None, **how: Any) -> int:
        """Fit on some columns, log with evaluation rows, register; gives the version."""
        how.setdefault("serialization_format", "skops")
        with pointed_at(self.url), mlflow.start_run() as run:
            pipeline = pipeline or make_pipeline(StandardScaler(), LogisticRegression())
            pipeline.fit(FRAME[columns][::2], TARGET[::2])
            info = mlflow.sklearn.log_model(
                pipeline, name="model", input_example=FRAME[columns].head(2), pip_requirements=[], **how
            )
            if data:
                file = self.directory / "evaluation.parquet"
                FRAME.assign(target=TARGET)[1::2].to_parquet(file, index=False)
                mlflow.log_artifact(str(file), "data")
            if not self.client.search_registered_models(f"name = '{self.model}'"):
                self.client.create_registered_model(self.model)
            made = self.client.create_model_version(
                self.model, info.model_uri, run_id=run.info.run_id, model_id=info.model_id
            )
        return int(made.version)

    def move(self, version: int, stage: Stage) -> None:
        """Change the stage as a person does."""
        self.parts.registry.set_stage(self.model, version, stage)

    def start_worker(self, policy: dict[str, Any], **environ: str) -> subprocess.Popen[bytes]:
        """Start `python -m serving.worker` and wait until it has announced itself."""
        number = len(self.processes)
        file = self.directory / f"worker-{number}.yaml"
        file.write_text(yaml.safe_dump({"defaults": policy}))
        log = self.directory / f"worker-{number}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "serving.worker"],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    **os.environ,
                    "MLFLOW_EXT_DATABASE_URL": self.database_url,
                    "MLFLOW_EXT_MLFLOW_URL": self.url,
                    "MLFLOW_EXT_DATA_DIR": str(self.directory),
                    "MLFLOW_EXT_CONFIG": str(file),
                    "MLFLOW_EXT_LEASE_S": str(LEASE_S),
                    "MLFLOW_EXT_RECONCILE_S": "1",
                    **environ,
                },
            )
        self.processes.append(process)
        wait_until(lambda: b"promotion_worker_started" in log.read_bytes(), 60, log.read_text)
        return process

    def stop_workers(self) -> None:
        """End the workers in order, and wait until they are gone."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            process.wait(30)

    def logs(self) -> str:
        """What the workers said."""
        return "\n".join(file.read_text() for file in sorted(self.directory.glob("worker-*.log")))

    def promotions(self) -> list[Promotion]:
        """The model's promotions, newest first."""
        return self.parts.promotions.find(self.model)

    def ended(self, version: int, timeout_s: float = 90) -> Promotion:
        """Wait until the newest promotion of a version has ended or waits for a person."""

        def looked() -> bool:
            found = self.parts.promotions.find(self.model, version=version)
            return bool(found) and (not found[0].state.is_open or found[0].state == "awaiting_approval")

        wait_until(looked, timeout_s, self.logs)
        return self.parts.promotions.find(self.model, version=version)[0]

    def stage(self, version: int) -> Stage:
        """A version's stage."""
        return self.parts.view.version(self.model, version).stage


@pytest.fixture(scope="module")
def shared(mlflow_url: str, mlflow_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The shared MLflow server, with what a module's tests have in common."""
    directory = tmp_path_factory.mktemp("promotion")
    settings = Settings(database_url=SecretStr(mlflow_database_url), mlflow_url=mlflow_url, data_dir=directory)
    client = MlflowClient(tracking_uri=mlflow_url, registry_uri=mlflow_url)
    with services(settings) as found:
        made = Stack(mlflow_url, mlflow_database_url, directory, "", client, lifecycle(found))
        try:
            yield made
        finally:
            made.stop_workers()


@pytest.fixture
def stack(shared: Stack) -> Stack:
    """The module's stack with a model of this test's own."""
    return replace(shared, model=f"m-{uuid.uuid4().hex[:8]}")
