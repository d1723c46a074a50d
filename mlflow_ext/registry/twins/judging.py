"""The twin of a version whose gates are asked: made, compared on the evaluation rows, kept in the promotion's run."""

import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient

from mlflow_ext.domain.twins import JudgedTwin, TwinRefusedError
from mlflow_ext.policy import ServingPolicy
from mlflow_ext.registry.twins.apart import check_installed

_log = logging.getLogger(__name__)

FOLDER, FILE = "twin", "model.onnx"


def judge_twin(
    client: MlflowClient, run_id: str, model: Any, policy: ServingPolicy, rows: pd.DataFrame
) -> JudgedTwin | None:
    """Make a version's twin and keep it; `None` where policy wants none.

    Args:
        client: Points at MLflow's server.
        run_id: The promotion's run.
        model: MLflow's `PyFuncModel`.
        policy: How the model is served.
        rows: Evaluation rows.

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
    with tempfile.TemporaryDirectory(prefix="mlflow-ext-twin-") as scratch:
        file = Path(scratch, FILE)
        file.write_bytes(twin.content)
        client.log_artifact(run_id, str(file), FOLDER)
    _log.info("event=twin_made run=%s s=%.1f sha256=%s", run_id, time.monotonic() - began, twin.facts.sha256)
    return JudgedTwin(twin.facts, tolerance, run_id=run_id, artifact=f"{FOLDER}/{FILE}")
