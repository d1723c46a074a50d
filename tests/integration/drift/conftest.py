"""A small world for drift: a registered model with a reference, served by pointer, and predictions in a real spool."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from pydantic import SecretStr
from sklearn.linear_model import LinearRegression
from sqlalchemy import Engine

from mlflow_ext.bootstrap import Services
from mlflow_ext.config import Settings
from mlflow_ext.policy import DriftPolicy, ModelPolicy
from mlflow_ext.spool import PredictionRecord, SpoolWriter
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.pointers import SqlPointers

ROOT = Path(__file__).parents[3]
SINCE = datetime(2026, 3, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec("double", "length"),
            ColSpec("double", "weight"),
            ColSpec("long", "visits"),
            ColSpec("string", "region"),
            ColSpec("boolean", "member"),
            ColSpec("double", "age", required=False),
        ]
    ),
    outputs=Schema([ColSpec("double")]),
)


def rows_like_training(count: int, seed: int, *, shift: float = 0.0) -> pd.DataFrame:
    """Rows with every kind of column; `shift` moves half of them, by so many standard deviations."""
    rng = np.random.default_rng(seed)
    category = rng.choice(["north", "south", "west"], count, p=[0.5, 0.3, 0.2] if not shift else [0.1, 0.2, 0.7])
    return pd.DataFrame(
        {
            "length": rng.normal(10 + shift * 2, 2, count),
            "weight": rng.lognormal(0, 1, count),
            "visits": rng.poisson(20 + shift * 4, count).astype("int64"),
            "region": category,
            "member": rng.random(count) < 0.4,
            "age": np.where(rng.random(count) < 0.2, np.nan, rng.normal(40, 10, count)),
        }
    )


def answers(rows: pd.DataFrame) -> list[float]:
    """What the model of this world predicts."""
    return [float(value) for value in rows["length"] * 0.3 + rows["visits"] * 0.05]


@dataclass
class World:
    """One registered model and its surroundings."""

    model: str
    settings: Settings
    engine: Engine
    client: MlflowClient
    directory: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def parts(self) -> Services:
        """What a process would be built with."""
        return Services(settings=self.settings, engine=self.engine)

    def with_policy(self, **drift: Any) -> None:
        """Set the model's drift policy."""
        policy = ModelPolicy.model_validate(
            {"drift": {"minimum_rows": 100, **drift}, "evaluation": {"model_type": "regressor"}}
        )
        self.settings = self.settings.model_copy(update={"models": {self.model: policy}})

    def score(self, rows: pd.DataFrame, *, since: datetime = SINCE, version: int = 1, batch: int = 1) -> list[str]:
        """Append predictions to the spool, spread over an hour; gives the request ids."""
        writer = SpoolWriter(self.settings.spool_dir)
        ids = []
        step = HOUR / max(1, len(rows) // batch + 1)
        for number, begin in enumerate(range(0, len(rows), batch)):
            some = rows.iloc[begin : begin + batch]
            ids.append(f"{self.model}-{version}-{since:%m%d%H}-{number}")
            body = {"dataframe_split": json.loads(some.to_json(orient="split", index=False))}
            writer.append(
                PredictionRecord(
                    request_id=ids[-1],
                    model=self.model,
                    version=version,
                    at=since + number * step,
                    latency_us=900,
                    content_type="application/json",
                    request=json.dumps(body).encode(),
                    response=json.dumps({"predictions": answers(some)}).encode(),
                )
            )
        writer.close()
        return ids

    def environment(self, **more: str) -> dict[str, str]:
        """Environment of a process of this world; the policy as a configuration file."""
        document = {"models": {name: one.model_dump(mode="json") for name, one in self.settings.models.items()}}
        file = self.directory / "mlflow-ext.yaml"
        file.write_text(json.dumps(document), encoding="utf-8")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_EXT_")},
            "MLFLOW_EXT_CONFIG": str(file),
            "MLFLOW_EXT_DATABASE_URL": self.settings.require_database_url(),
            "MLFLOW_EXT_DATA_DIR": str(self.settings.data_dir),
            "MLFLOW_EXT_MLFLOW_URL": self.settings.mlflow_url,
            "MLFLOW_EXT_LEASE_S": str(self.settings.lease_s),
            **more,
        }

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start `mlflow-ext …` as a process; its output goes to files in the world's directory."""
        with (self.directory / f"process-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mlflow_ext.cli", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(**environment),
                cwd=self.directory,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def logs(self) -> str:
        """What the processes said."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.directory.glob("process-*.log")))


@pytest.fixture(scope="session")
def base_model(mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], None]:
    """Registers a model under a name: a run with the model, its signature and its reference."""
    directory = tmp_path_factory.mktemp("reference")
    reference = rows_like_training(3_000, seed=1)
    reference.assign(prediction=answers(reference), target=answers(reference)).to_parquet(
        directory / "reference.parquet", index=False
    )
    regression = LinearRegression().fit(reference[["length", "visits"]], answers(reference))

    def register(name: str) -> None:
        mlflow.set_tracking_uri(mlflow_url)
        with mlflow.start_run():
            mlflow.log_artifact(str(directory / "reference.parquet"), "data")
            mlflow.sklearn.log_model(
                regression,
                name="model",
                signature=SIGNATURE,
                registered_model_name=name,
                pip_requirements=["scikit-learn"],
            )

    return register


@pytest.fixture
def world(
    base_model: Callable[[str], None], mlflow_url: str, mlflow_database_url: str, tmp_path: Path
) -> Iterator[World]:
    """A registered model, version 1 served, nothing scored yet."""
    model = f"drift-{secrets.token_hex(4)}"
    base_model(model)
    engine = make_engine(mlflow_database_url)
    SqlPointers(engine).move(model, 1, seen_generation=0, reason="test")
    settings = Settings(
        database_url=SecretStr(mlflow_database_url),
        data_dir=tmp_path / "data",
        mlflow_url=mlflow_url,
        lease_s=3.0,
        models={model: ModelPolicy(drift=DriftPolicy(minimum_rows=100))},
    )
    one = World(model, settings, engine, MlflowClient(mlflow_url), tmp_path)
    one.with_policy()
    yield one
    for process in one.processes:
        if process.poll() is None:
            process.terminate()
    for process in one.processes:
        process.wait(15)
    engine.dispose()
