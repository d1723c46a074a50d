"""One run a model that holds every check's numbers as steps over time, so that MLflow's charts draw the history.

The runs of the checks, which stand below it, are `drift_runs.py`'s.
"""

from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Metric, Run, ViewType
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE

from mlflow_ext.domain.drift import DriftReport

HISTORY_TAG = "mlflow_ext.drift_history"
MOST_METRICS = 60
"""Beyond so many, single columns are left to the checks' own runs."""
_NOTE = "The numbers of every drift check, over time: a step is a minute since the first one. The checks are below."


def history_run(client: MlflowClient, experiment_id: str, model: str, report: DriftReport) -> Run:
    """Give the model's history run; the first check makes it."""
    # where two deliverers made one each, everybody goes on with the older
    found = client.search_runs(
        [experiment_id],
        f"tags.`{HISTORY_TAG}` = 'true'",
        ViewType.ACTIVE_ONLY,
        max_results=1,
        order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
    )
    if found:
        return found[0]
    tags = {HISTORY_TAG: "true", MLFLOW_RUN_NAME: f"{model} over time", MLFLOW_RUN_NOTE: _NOTE}
    return client.create_run(experiment_id, int(report.window.until.timestamp() * 1000), tags)


def add_step(client: MlflowClient, history: Run, report: DriftReport, numbers: Mapping[str, float]) -> None:
    """Enter a check's numbers at the end of its window; entering them again changes nothing.

    What was measured anew when labels came stands at the same step, a millisecond later for each time, so that MLflow
    takes the newer for the last and keeps the former.
    """
    chosen = {name: value for name, value in numbers.items() if not name.endswith("/drifted")}
    if len(chosen) > MOST_METRICS:
        chosen = {name: value for name, value in chosen.items() if not name.endswith("/score")}
    at_ms = int(report.window.until.timestamp() * 1000)
    step = (at_ms - history.info.start_time) // 60_000
    metrics = [Metric(name, value, at_ms + report.evaluation, step) for name, value in list(chosen.items())[:900]]
    client.log_batch(history.info.run_id, metrics=metrics)
