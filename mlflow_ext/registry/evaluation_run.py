"""The one MLflow run that holds a promotion's evidence: found by its tag before another is made."""

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

PROMOTION_TAG = "mlflow_ext.promotion"
GATES_TAG = "mlflow_ext.gates"
RUN_TAG = "mlflow_ext.promotion_run"


def experiment_name(model: str) -> str:
    """Name the experiment that holds the promotions of a model."""
    return f"mlflow-ext/promotions/{model}"


def promotion_run(
    client: MlflowClient, *, promotion_id: int, model: str, version: int, champion_version: int | None, dry_run: bool
) -> str:
    """Give the id of the promotion's run; made when there is none, taken up again after a crash.

    Raises:
        MlflowException: MLflow refused, or does not answer.
    """
    experiment_id = _experiment(client, experiment_name(model))
    found = client.search_runs(
        [experiment_id],
        f"tags.`{PROMOTION_TAG}` = '{promotion_id}'",
        run_view_type=ViewType.ACTIVE_ONLY,
        max_results=1,
        order_by=["attributes.start_time ASC"],
    )
    if found:
        return str(found[0].info.run_id)
    against = f" against version {champion_version}" if champion_version else ""
    run = client.create_run(
        experiment_id,
        run_name=f"version {version}{against} (promotion {promotion_id})",
        tags={
            PROMOTION_TAG: str(promotion_id),
            "mlflow_ext.model": model,
            "mlflow_ext.version": str(version),
            "mlflow_ext.champion_version": str(champion_version or ""),
            "mlflow_ext.dry_run": str(dry_run).lower(),
        },
    )
    return str(run.info.run_id)


def _experiment(client: MlflowClient, name: str) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            # another worker made it at the same moment
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)
