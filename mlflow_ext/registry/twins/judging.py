"""The twin of a version whose gates are asked: made, compared on the evaluation rows, kept in the promotion's run."""

import logging
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient

from mlflow_ext.domain.twins import JudgedTwin, TwinRefusedError
from mlflow_ext.policy import ServingPolicy
from mlflow_ext.registry.twins.apart import check_installed

_log = logging.getLogger(__name__)

FOLDER, FILE, QUANTISED_FILE = "twin", "model.onnx", "model.int8.onnx"


def judge_twin(
    client: MlflowClient, run_id: str, model: Any, policy: ServingPolicy, rows: pd.DataFrame, target: str
) -> JudgedTwin | None:
    """Make a version's twin and keep it; `None` where policy wants none.

    Args:
        client: Points at MLflow's server.
        run_id: The promotion's run.
        model: MLflow's `PyFuncModel`.
        policy: How the model is served.
        rows: Evaluation rows.
        target: Name of the column with their ground truth.

    Raises:
        MlflowException: MLflow refused the file, or does not answer.
    """
    if policy.engine == "python":
        return None
    began = time.monotonic()
    tolerance = policy.onnx_tolerance
    try:
        check_installed()
        from mlflow_ext.registry.twins.making import make_twin

        twin = make_twin(model, tolerance, rows)
    except TwinRefusedError as exc:
        _log.info("event=twin_refused run=%s reason=%r", run_id, str(exc))
        return JudgedTwin(None, tolerance, refused=str(exc))
    # a twin makes answers faster; that there is none must not stop a promotion
    except Exception as exc:
        _log.warning("event=twin_failed run=%s", run_id, exc_info=True)
        return JudgedTwin(None, tolerance, refused=f"making it failed: {type(exc).__name__}: {str(exc)[:200]}")
    _keep(client, run_id, FILE, twin.content)
    _log.info("event=twin_made run=%s s=%.1f sha256=%s", run_id, time.monotonic() - began, twin.facts.sha256)
    judged = JudgedTwin(twin.facts, tolerance, run_id=run_id, artifact=f"{FOLDER}/{FILE}")
    if policy.quantise == "none":
        return judged
    try:
        from mlflow_ext.registry.twins.quantising import quantise_twin

        small = quantise_twin(model, twin.content, rows, target, policy.quantise_loss)
    except TwinRefusedError as exc:
        _log.info("event=quantised_twin_refused run=%s reason=%r", run_id, str(exc))
        return replace(judged, quantised_refused=str(exc))
    # as above: the unquantised twin answers
    except Exception as exc:
        _log.warning("event=quantised_twin_failed run=%s", run_id, exc_info=True)
        reason = f"judging it failed: {type(exc).__name__}: {str(exc)[:200]}"
        return replace(judged, quantised_refused=reason)
    _keep(client, run_id, QUANTISED_FILE, small.content)
    _log.info("event=quantised_twin_made run=%s sha256=%s", run_id, small.facts.sha256)
    return replace(judged, quantised=small.facts, quantised_artifact=f"{FOLDER}/{QUANTISED_FILE}")


def _keep(client: MlflowClient, run_id: str, name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="mlflow-ext-twin-") as scratch:
        file = Path(scratch, name)
        file.write_bytes(content)
        client.log_artifact(run_id, str(file), FOLDER)
