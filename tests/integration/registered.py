"""Models for tests that need real ones: trained in milliseconds, logged and registered at a real MLflow server."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.tracking._model_registry import utils as registry
from mlflow.tracking._tracking_service import utils as tracking
from sklearn.dummy import DummyRegressor

from mlflow_ext.domain.stages import ModelVersion
from tests.conftest import forget_mlflow

ROWS = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [1.0, 0.5, 0.25]})
BODY = {"dataframe_split": {"columns": ["a", "b"], "data": [[0.0, 1.0]]}}


@contextlib.contextmanager
def pointed_at(mlflow_url: str) -> Iterator[MlflowClient]:
    """Point this process's MLflow at a server for a while."""
    # what was set, not what it resolved to: a resolved address would stay for the whole process
    before = tracking._tracking_uri, registry._registry_uri
    mlflow.set_tracking_uri(mlflow_url)
    mlflow.set_registry_uri(mlflow_url)
    try:
        yield MlflowClient(tracking_uri=mlflow_url, registry_uri=mlflow_url)
    finally:
        forget_mlflow()
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])


def register(mlflow_url: str, name: str, model: Any = None, **how: Any) -> ModelVersion:
    """Log a model in a run and register it.

    Args:
        mlflow_url: The server.
        name: Registered model; made when missing.
        model: A fitted scikit-learn model; by default one that answers with a constant.
        how: Passed to `mlflow.sklearn.log_model`.
    """
    model = constant(0.0) if model is None else model
    how.setdefault("input_example", ROWS)
    how.setdefault("pip_requirements", [])
    with pointed_at(mlflow_url) as client:
        with mlflow.start_run() as run:
            info = mlflow.sklearn.log_model(model, name="model", **how)
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        made = client.create_model_version(name, info.model_uri, run_id=run.info.run_id, model_id=info.model_id)
    return ModelVersion(name, int(made.version), run_id=run.info.run_id, source=made.source)


def constant(value: float) -> DummyRegressor:
    """Make a model that answers `value`, so that an answer tells its version."""
    return DummyRegressor(strategy="constant", constant=value).fit(ROWS, np.zeros(len(ROWS)))


def tree(directory: Path) -> list[str]:
    """List the files under a directory."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
