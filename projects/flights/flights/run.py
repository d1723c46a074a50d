"""One MLflow run that fits, logs and registers: everything that promotion gates and drift checks need later is in it.

Which rows it gets is decided in `train.py`, `retrain.py` and `learn_on.py`. No stage is set here: the platform or a
person decides.
"""

import json
import logging
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.data.pandas_dataset import from_pandas
from mlflow.models import infer_signature
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import Pipeline

from .data import TARGET, as_features
from .model import SKOPS_TYPES

LOG = logging.getLogger(__name__)
REFERENCE_ROWS = 5_000
REQUIREMENTS = ["mlflow", "scikit-learn", "skops", "numpy", "pandas"]


@dataclass(frozen=True)
class Rows:
    """The rows of a run.

    Attributes:
        training: Feature columns and target, in time order.
        weight: One weight for each training row, positive.
        evaluation: Feature columns and target of rows later than any training row of the same source.
        reference: Those training rows that production is compared with from now on.
    """

    training: pd.DataFrame
    weight: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    evaluation: pd.DataFrame
    reference: pd.DataFrame


@dataclass(frozen=True)
class Registered:
    """What a run left in MLflow."""

    model: str
    version: int
    run_id: str
    training_rows: int
    evaluation_rows: int
    evaluation_roc_auc: float


Learn = Callable[[Pipeline, Rows], object]


def _fit(pipeline: Pipeline, rows: Rows) -> None:
    pipeline.fit(as_features(rows.training), rows.training[TARGET], classifier__sample_weight=rows.weight)


def fit_and_register(pipeline: Pipeline, rows: Rows, *, model_name: str, seed: int, learn: Learn = _fit) -> Registered:
    """Let `pipeline` learn, log the run: autolog, datasets, evaluation and reference rows, and the model, registered.

    The model answers with `predict_proba`: shape (rows, 2), the second column is the probability of being late.
    MLflow's `evaluate` still finds labels and probabilities: it reaches through to the scikit-learn pipeline.
    """
    # the model is logged below, with skops: autolog would pickle it; silent, because it reports warnings of its own
    mlflow.sklearn.autolog(log_models=False, log_datasets=False, log_post_training_metrics=False, silent=True)
    with mlflow.start_run() as run, tempfile.TemporaryDirectory() as scratch:
        features = as_features(rows.training)
        for name, frame in (("training", rows.training), ("evaluation", rows.evaluation)):
            # float64, because MLflow warns about whole-number columns: they cannot hold missing values
            dataset = from_pandas(frame.astype({TARGET: "float64"}), targets=TARGET, name=f"flights-{name}")
            mlflow.log_input(dataset, context=name)
        learn(pipeline, rows)
        late = pipeline.predict_proba(as_features(rows.evaluation))[:, 1]
        auc = float(roc_auc_score(rows.evaluation[TARGET], late))
        mlflow.log_metrics(
            {
                "evaluation_roc_auc": auc,
                "evaluation_log_loss": float(log_loss(rows.evaluation[TARGET], late)),
                "evaluation_rows": len(rows.evaluation),
                "evaluation_late_share": float(rows.evaluation[TARGET].mean()),
            }
        )
        _log_frame(rows.evaluation, Path(scratch) / "evaluation.parquet")
        _log_frame(_with_predictions(pipeline, rows.reference, seed), Path(scratch) / "reference.parquet")
        example = features.head(3)
        logged = mlflow.sklearn.log_model(
            pipeline,
            name="model",
            registered_model_name=model_name,
            signature=infer_signature(features, pipeline.predict_proba(example)),
            input_example=example,
            pyfunc_predict_fn="predict_proba",
            serialization_format="skops",
            skops_trusted_types=SKOPS_TYPES,
            pip_requirements=[f"{package}=={version(package)}" for package in REQUIREMENTS],
        )
        registered = Registered(
            model=model_name,
            version=int(logged.registered_model_version),
            run_id=run.info.run_id,
            training_rows=len(rows.training),
            evaluation_rows=len(rows.evaluation),
            evaluation_roc_auc=round(auc, 4),
        )
    print(json.dumps(asdict(registered)))
    return registered


def _with_predictions(pipeline: Pipeline, rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    reference = rows.sample(min(REFERENCE_ROWS, len(rows)), random_state=seed).sort_index().reset_index(drop=True)
    answers = pipeline.predict_proba(as_features(reference))
    # under the names that the platform gives an answer of two numbers, and as the one number that counts
    return reference.assign(prediction_0=answers[:, 0], prediction_1=answers[:, 1], prediction=answers[:, 1])


def _log_frame(frame: pd.DataFrame, file: Path) -> None:
    frame.to_parquet(file, index=False)
    mlflow.log_artifact(str(file), "data")
