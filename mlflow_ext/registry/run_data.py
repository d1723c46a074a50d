"""Rows that belong to a model version: evaluation and reference data, as a local file.

Model files are `artifacts.py`'s; what the rows are used for is their reader's business.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

import mlflow
from mlflow import MlflowClient

from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import NotFoundError
from mlflow_ext.registry.client import translated

RUN_ARTIFACT = "artifact:"


def fetch_rows(client: MlflowClient, version: ModelVersion, source: str, into: Path) -> Path:
    """Download the file that a policy names for a version, once; later calls give the same local file.

    Args:
        client: MLflow's client.
        version: Version whose run holds the file, where `source` is `artifact:PATH`.
        source: `artifact:PATH` inside the version's run, a local path, or a URI that MLflow can download.
        into: Directory of the kept copies.

    Raises:
        NotFoundError: The version has no run, or there is no such file; the message says what to log.
        UnavailableError: MLflow or the storage does not answer.
    """
    if not source.startswith(RUN_ARTIFACT) and "://" not in source and ":/" not in source:
        path = Path(source)
        if not path.is_file():
            raise NotFoundError(f"{source} is not a file on this machine")
        return path
    digest = hashlib.sha256(f"{version.run_id} {version.source} {source}".encode()).hexdigest()[:16]
    # the suffix tells the reader whether it is Parquet or CSV
    kept = into / version.model / f"{version.version}-{digest}{Path(source).suffix}"
    if kept.is_file():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        shutil.copyfile(_download(client, version, source, scratch), f"{scratch}/rows")
        Path(f"{scratch}/rows").replace(kept)
    return kept


def _download(client: MlflowClient, version: ModelVersion, source: str, scratch: str) -> str:
    if not source.startswith(RUN_ARTIFACT):
        with translated():
            try:
                return mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=scratch)
            except OSError as exc:
                raise NotFoundError(f"{source} cannot be downloaded: {exc}") from exc
    path = source.removeprefix(RUN_ARTIFACT)
    if version.run_id is None:
        raise NotFoundError(
            f"{version.model} version {version.version} was logged by no run, so there is no {path}; "
            "name the rows by path or URI in the policy"
        )
    with translated():
        folder = str(Path(path).parent)
        if path not in {one.path for one in client.list_artifacts(version.run_id, None if folder == "." else folder)}:
            raise NotFoundError(
                f"run {version.run_id} of {version.model} version {version.version} has no artifact {path}; "
                f"log it in the run that logs the model: mlflow.log_artifact(file, '{folder}')"
            )
        return client.download_artifacts(version.run_id, path, scratch)
