"""Addresses in messages: the run in MLflow, its picture. Which run it is, the alert knows."""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from mlflow_ext.domain.alerts import Alert
from mlflow_ext.domain.drift import PICTURE


@dataclass(frozen=True, slots=True)
class Links:
    """Links into one MLflow."""

    mlflow_url: str

    def run(self, alert: Alert) -> str | None:
        """Give the address of the run of the alert's newest check; `None` while MLflow does not have it."""
        return None if alert.run_id is None else f"{self.mlflow_url}/#/runs/{alert.run_id}"

    def picture(self, alert: Alert) -> str | None:
        """Give the address of the run's picture."""
        if alert.run_id is None or alert.picture is None:
            return None
        return f"{self.mlflow_url}/get-artifact?{urlencode({'path': PICTURE, 'run_uuid': alert.run_id})}"

    def model(self, alert: Alert) -> str:
        """Give the address of the model's version."""
        versions = "" if alert.version is None else f"/versions/{alert.version}"
        return f"{self.mlflow_url}/#/models/{quote(alert.model, safe='')}{versions}"
