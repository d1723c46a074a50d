"""One MLflow run that fits, logs and registers: everything that promotion gates and drift checks need later is in it.

Which rows it gets is decided in `train.py` and `retrain.py`. No stage is set here: the platform or a person decides.
"""

import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import mlflow
import numpy as np
import pandas as pd
from mlflow.data.pandas_dataset import from_pandas
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from .data import FEATURES, TARGET

Variant = Literal["weak", "good"]
UNINFORMATIVE = ["mean fractal dimension", "texture error"]
REQUIREMENTS = ["mlflow", "scikit-learn", "skops", "numpy", "pandas"]


def fit_and_register(
    training: pd.DataFrame, evaluation: pd.DataFrame, *, weight: np.ndarray, variant: Variant, model_name: str
) -> None:
    """Fit a logistic regression and log the run: autolog, datasets, evaluation and reference rows, and the model.

    Args:
        training: `FEATURES` and target; also the rows that production is compared with.
        evaluation: The same columns, rows held out.
        weight: One weight for each training row.
        variant: `good` looks at all columns; `weak`, made to be beaten, at two that say next to nothing.
        model_name: Registered model that gets the new version.
    """
    scale = ColumnTransformer([("scale", StandardScaler(), FEATURES if variant == "good" else UNINFORMATIVE)])
    pipeline = Pipeline([("columns", scale), ("classifier", LogisticRegression())])
    # the model is logged below, with skops: autolog would pickle it; silent, because it reports warnings of its own
    mlflow.sklearn.autolog(log_models=False, log_datasets=False, log_post_training_metrics=False, silent=True)
    with mlflow.start_run() as run, tempfile.TemporaryDirectory() as scratch:
        pipeline.fit(training[FEATURES], training[TARGET], classifier__sample_weight=weight)
        auc = float(roc_auc_score(evaluation[TARGET], pipeline.predict_proba(evaluation[FEATURES])[:, 1]))
        mlflow.log_metrics({"evaluation_roc_auc": auc, "evaluation_rows": len(evaluation)})
        answers = pipeline.predict_proba(training[FEATURES])
        # under the names that the platform gives an answer of two numbers, and as the one number that counts
        reference = training.assign(prediction_0=answers[:, 0], prediction_1=answers[:, 1], prediction=answers[:, 1])
        for name, frame in (("evaluation", evaluation), ("reference", reference)):
            file = Path(scratch) / f"{name}.parquet"
            frame.to_parquet(file, index=False)
            mlflow.log_artifact(str(file), "data")
        for name, frame in (("training", training), ("evaluation", evaluation)):
            # float64, because MLflow warns about whole-number columns: they cannot hold missing values
            frame = frame.astype({TARGET: "float64"})
            mlflow.log_input(from_pandas(frame, targets=TARGET, name=f"breast-cancer-{name}"), context=name)
        example = training[FEATURES].head(3)
        logged = mlflow.sklearn.log_model(
            pipeline,
            name="model",
            registered_model_name=model_name,
            signature=infer_signature(example, pipeline.predict_proba(example)),
            input_example=example,
            pyfunc_predict_fn="predict_proba",
            serialization_format="skops",
            pip_requirements=[f"{package}=={version(package)}" for package in REQUIREMENTS],
        )
        result = {"model": model_name, "version": int(logged.registered_model_version), "run_id": run.info.run_id}
    print(json.dumps({**result, "evaluation_roc_auc": round(auc, 4)}))
