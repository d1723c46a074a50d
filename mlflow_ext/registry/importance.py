"""What a loaded model says about its columns: asked in the evaluation process, kept beside the version's run.

It needs the model, so it runs where one is loaded anyway (`measuring.py`). Drift checks read the file and load nothing.
"""

import logging
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from numpy.typing import NDArray

from mlflow_ext.domain.importance import ColumnImportance, importance_file
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.registry.followed_columns import NotFollowedError, followed
from mlflow_ext.registry.run_files import RunFiles

_log = logging.getLogger(__name__)

MOST_ROWS = 5_000
"""Rows by which the spread of a linear model's columns is measured."""


def keep_importance(client: MlflowClient, version: ModelVersion, raw: Any, rows: pd.DataFrame) -> None:
    """Write what a version's model says about its columns into the version's run, for drift checks.

    Args:
        client: Points at MLflow's server.
        version: The version.
        raw: Its model, without MLflow's wrapper; `None` where there is none.
        rows: Rows with the columns that the model takes.

    Raises:
        UnavailableError: MLflow does not answer.
    """
    try:
        found = importance_of(raw, rows)
    # the model's own code, asked for its own attributes: what it raises must not decide about a promotion
    except Exception as exc:
        found = ColumnImportance(source=f"{type(raw).__name__} could not be asked: {type(exc).__name__}: {exc}"[:300])
    _log.info("importance model=%s version=%d known=%s", version.model, version.version, found.known)
    RunFiles(client).write(version, importance_file(version.source), found.to_json().encode())


def importance_of(raw: Any, rows: pd.DataFrame) -> ColumnImportance:
    """Ask a fitted scikit-learn model, or one with scikit-learn's attributes.

    `feature_importances_` where it has them; else the coefficients' sizes times the standard deviations of what they
    multiply, the mean over classes. What the steps of a pipeline make of a column is summed back to the column.

    Args:
        raw: The model; of a search the best one counts.
        rows: Rows with the columns that it takes.

    Returns:
        Shares by column; without any, the source says why.
    """
    model = getattr(raw, "best_estimator_", raw)
    steps = [step for _, step in model.steps] if hasattr(model, "steps") else [model]
    last = getattr(steps[-1], "best_estimator_", steps[-1])
    kind = type(last).__name__
    word = "feature_importances_" if hasattr(last, "feature_importances_") else "coef_"
    if not hasattr(last, word):
        return ColumnImportance(source=f"{kind} gives no importances" if raw is not None else "no model to ask")
    names = [str(name) for name in getattr(model, "feature_names_in_", rows.columns)]
    owners = names
    try:
        for step in steps[:-1]:
            owners = followed(step, owners)
    except NotFollowedError as exc:
        return ColumnImportance(source=f"those of {kind} cannot be followed to the columns: {exc}")
    sizes = _sizes(getattr(last, word))
    if word == "coef_" and len(sizes) == len(owners):
        sizes = sizes * _spread(steps[:-1], rows[names].head(MOST_ROWS))
    if len(sizes) != len(owners):
        return ColumnImportance(source=f"{kind} has {len(sizes)} of them for {len(owners)} features")
    totals = dict.fromkeys(names, 0.0)
    for owner, size in zip(owners, sizes.tolist(), strict=True):
        totals[owner] += size
    said = word if word == "feature_importances_" else "|coef_| times standard deviation"
    return ColumnImportance.of(totals, f"{said} of {kind}")


def _sizes(values: Any) -> NDArray[np.float64]:
    """Give one number a feature: the mean size over classes or outputs."""
    dense = values.toarray() if hasattr(values, "toarray") else values
    sizes: NDArray[np.float64] = np.abs(np.asarray(dense, dtype=np.float64))
    return sizes.mean(axis=0) if sizes.ndim == 2 else sizes


def _spread(steps: list[Any], rows: pd.DataFrame) -> NDArray[np.float64]:
    from sklearn.preprocessing import StandardScaler

    values: Any = rows
    for step in steps:
        if step is not None and not isinstance(step, str):
            values = step.transform(values)
    # it reads sparse matrices and passes missing values by
    variances = StandardScaler(with_mean=False).fit(values).var_
    spread: NDArray[np.float64] = np.sqrt(np.asarray(variances, dtype=np.float64))
    return spread
