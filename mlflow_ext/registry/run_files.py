"""Small files of our own beside a version's model: artifacts of the MLflow run that logged it.

What they hold is their writer's business; rows that a policy names are fetched by `run_data.py`.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mlflow import MlflowClient

from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.registry.client import translated


class RunFiles:
    """Artifacts of the runs behind versions. Every method raises `UnavailableError` without MLflow."""

    def __init__(self, client: MlflowClient) -> None:
        """Take MLflow's client."""
        self._client = client

    def read(self, version: ModelVersion, path: str) -> bytes | None:
        """Give a file's content; `None` when there is none, or no run."""
        if version.run_id is None:
            return None
        with translated(), tempfile.TemporaryDirectory() as scratch:
            folder = str(PurePosixPath(path).parent)
            if path not in {one.path for one in self._client.list_artifacts(version.run_id, folder)}:
                return None
            return Path(self._client.download_artifacts(version.run_id, path, scratch)).read_bytes()

    def first_of(self, version: ModelVersion, names: Sequence[str]) -> tuple[str, bytes] | None:
        """Give the first of these files, which the run itself logged, with its name; `None` when there is none."""
        if version.run_id is None:
            return None
        with translated(), tempfile.TemporaryDirectory() as scratch:
            there = {one.path for one in self._client.list_artifacts(version.run_id)}
            name = next((one for one in names if one in there), None)
            if name is None:
                return None
            return name, Path(self._client.download_artifacts(version.run_id, name, scratch)).read_bytes()

    def write(self, version: ModelVersion, path: str, content: bytes) -> None:
        """Write a file, or write it anew; a version without a run is passed by."""
        if version.run_id is None:
            return
        with translated(), tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, PurePosixPath(path).name)
            file.write_bytes(content)
            self._client.log_artifact(version.run_id, str(file), str(PurePosixPath(path).parent))
