"""The rows that gates measure on: found as the policy says, read once, and checked before any model sees them.

Which columns a model takes of them, and the measuring itself, is in `evaluation.py`.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from mlflow_ext.errors import EvaluationImpossibleError
from mlflow_ext.policy import EvaluationPolicy
from mlflow_ext.registry.client import translated

ARTIFACT = "artifact:"
_MLFLOW_SCHEMES = ("runs:/", "models:/", "mlflow-artifacts:/")
_SETTING = "models.{model}.evaluation.data in mlflow-ext.yaml"


@dataclass(frozen=True, slots=True)
class EvaluationData:
    """Rows with ground truth.

    Attributes:
        frame: One row an observation: features, the target column, and whatever else the file holds.
        source: Where it came from, as a URI or path.
        unlabelled: Number of rows left out because their target is missing.
    """

    frame: pd.DataFrame
    source: str
    unlabelled: int


def load_rows(
    client: MlflowClient, model: str, version: int, run_id: str | None, policy: EvaluationPolicy
) -> EvaluationData:
    """Read the evaluation data of a candidate.

    Raises:
        EvaluationImpossibleError: There is none, it cannot be read, or nothing can be measured on it.
        UnavailableError: MLflow does not answer.
    """
    way_out = f"log it there (mlflow.log_artifact), or set {_SETTING.format(model=model)} to a Parquet or CSV file"
    if policy.data.startswith(ARTIFACT):
        path = policy.data.removeprefix(ARTIFACT)
        if not run_id:
            raise EvaluationImpossibleError(
                f"no evaluation data: version {version} of {model} was not logged by an MLflow run, so there is no "
                f"artifact '{path}'; {way_out}"
            )
        frame, source = _from_run(client, run_id, path, way_out)
    else:
        frame, source = _from_uri(policy.data, model), policy.data
    return _checked(frame, source, policy, model)


def _from_run(client: MlflowClient, run_id: str, path: str, way_out: str) -> tuple[pd.DataFrame, str]:
    folder = str(Path(path).parent)
    with translated():
        found = {entry.path for entry in client.list_artifacts(run_id, None if folder == "." else folder)}
        if path not in found:
            raise EvaluationImpossibleError(f"no evaluation data: run {run_id} has no artifact '{path}'; {way_out}")
        with tempfile.TemporaryDirectory(prefix="mlflow-ext-rows-") as scratch:
            file = download_artifacts(
                run_id=run_id, artifact_path=path, dst_path=scratch, tracking_uri=client.tracking_uri
            )
            return read_table(file), f"{client.get_run(run_id).info.artifact_uri}/{path}"


def _from_uri(uri: str, model: str) -> pd.DataFrame:
    if uri.startswith(_MLFLOW_SCHEMES):
        with translated(), tempfile.TemporaryDirectory(prefix="mlflow-ext-rows-") as scratch:
            return read_table(download_artifacts(artifact_uri=uri, dst_path=scratch))
    try:
        return read_table(uri)
    except (OSError, ImportError) as exc:
        setting = _SETTING.format(model=model)
        raise EvaluationImpossibleError(f"no evaluation data: {uri} cannot be read ({exc}); check {setting}") from exc


def read_table(location: str) -> pd.DataFrame:
    """Read Parquet, or CSV where the name ends so.

    Raises:
        EvaluationImpossibleError: It is neither.
    """
    name = location.split("?")[0].removesuffix(".gz")
    try:
        return pd.read_csv(location) if name.endswith(".csv") else pd.read_parquet(location)
    # pandas, pyarrow: ArrowInvalid and ParserError are ValueErrors
    except ValueError as exc:
        raise EvaluationImpossibleError(
            f"the evaluation data {Path(location).name} is neither Parquet nor CSV (*.csv, *.csv.gz): {exc}"
        ) from exc


def _checked(frame: pd.DataFrame, source: str, policy: EvaluationPolicy, model: str) -> EvaluationData:
    if policy.target not in frame.columns:
        columns = ", ".join(map(str, frame.columns))
        raise EvaluationImpossibleError(
            f"the evaluation data {source} has no column '{policy.target}'; set models.{model}.evaluation.target in "
            f"mlflow-ext.yaml to one of: {columns}"
        )
    labelled = frame[frame[policy.target].notna()].reset_index(drop=True)
    if len(labelled) < 2:
        raise EvaluationImpossibleError(
            f"the evaluation data {source} has {len(labelled)} rows with a value in '{policy.target}'; give more rows"
        )
    if policy.model_type == "classifier" and labelled[policy.target].nunique() < 2:
        raise EvaluationImpossibleError(
            f"the evaluation data {source} has one class only in '{policy.target}'; a classifier needs at least two"
        )
    return EvaluationData(labelled, source, len(frame) - len(labelled))
