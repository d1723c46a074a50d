"""What MLflow and PostgreSQL say: everything the demo shows comes from here."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import httpx
from sqlalchemy import Engine

from demo.stack import MODEL, DemoError, Stack
from mlflow_ext.domain.drift import OPEN_CHECKS, DriftCheck
from mlflow_ext.domain.promotion import Promotion
from mlflow_ext.domain.retraining import Retraining
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.promotions import SqlPromotions
from mlflow_ext.store.retrainings import Retrainings

T = TypeVar("T")


@dataclass(frozen=True)
class Readback:
    """Looks at the platform's database and at MLflow's API.

    Attributes:
        stack: The running platform.
        engine: Its database.
    """

    stack: Stack
    engine: Engine

    def stages(self) -> dict[int, str]:
        """Give the stage of each version of the model, as MLflow's API tells it."""
        answer = httpx.get(
            f"{self.stack.mlflow_url}/api/2.0/mlflow/model-versions/search",
            params={"filter": f"name='{MODEL}'"},
            timeout=30,
        ).raise_for_status()
        return {int(v["version"]): v["current_stage"] for v in answer.json().get("model_versions", [])}

    def newest_version(self) -> int:
        """Give the number of the version that was registered last."""
        return max(self.stages(), default=0)

    def experiment_url(self, name: str) -> str:
        """Give the page of an experiment."""
        answer = httpx.get(
            f"{self.stack.mlflow_url}/api/2.0/mlflow/experiments/get-by-name",
            params={"experiment_name": name},
            timeout=30,
        )
        if answer.status_code != 200:
            return f"{self.stack.mlflow_url}/#/experiments"
        return f"{self.stack.mlflow_url}/#/experiments/{answer.json()['experiment']['experiment_id']}/runs"

    def run_url(self, run_id: str | None) -> str:
        """Give the page of a run."""
        if run_id is None:
            return ""
        answer = httpx.get(
            f"{self.stack.mlflow_url}/api/2.0/mlflow/runs/get", params={"run_id": run_id}, timeout=30
        ).raise_for_status()
        experiment = answer.json()["run"]["info"]["experiment_id"]
        return f"{self.stack.mlflow_url}/#/experiments/{experiment}/runs/{run_id}"

    def promotion(self, version: int) -> Promotion | None:
        """Give the newest promotion of a version."""
        found = SqlPromotions(self.engine).find(MODEL, version=version, limit=1)
        return found[0] if found else None

    def ended_promotion(self, version: int) -> Promotion | None:
        """Give the newest promotion of a version once it has ended."""
        found = self.promotion(version)
        return found if found is not None and not found.state.is_open else None

    def checks(self) -> list[DriftCheck]:
        """Give the drift checks, oldest window first."""
        return Checks(self.engine).history(MODEL)[::-1]

    def ended_checks(self) -> list[DriftCheck] | None:
        """Give the drift checks once none is open."""
        found = self.checks()
        return None if any(check.state in OPEN_CHECKS for check in found) else found

    def request_check(self, began: float, ended: float) -> None:
        """Ask the scheduler for a check of the predictions between two points of this machine's time."""
        since, until = (datetime.fromtimestamp(at, tz=UTC) for at in (began, ended))
        Checks(self.engine).request(MODEL, window_s=ended - began, version=None, since=since, until=until)

    def retraining(self) -> Retraining | None:
        """Give the first retraining."""
        found = Retrainings(self.engine).find(MODEL)
        return found[-1] if found else None

    def ended_retraining(self) -> Retraining | None:
        """Give the first retraining once it has ended."""
        found = self.retraining()
        return found if found is not None and found.finished_at is not None else None

    def wait(self, what: str, look: Callable[[], T | None], timeout_s: float = 120) -> T:
        """Look again and again until there is something.

        Raises:
            DemoError: Nothing within the time.
        """
        end = time.monotonic() + timeout_s
        while (found := look()) is None:
            if time.monotonic() > end:
                raise DemoError(
                    f"{what}: nothing within {timeout_s:.0f} s; see {self.stack.directory / 'data' / 'logs'}"
                )
            time.sleep(0.1)
        return found

    def move(self, version: int, stage: str) -> float:
        """Move a version to a stage with the very call that MLflow's UI makes; give the time of its answer."""
        httpx.post(
            f"{self.stack.mlflow_url}/ajax-api/2.0/mlflow/model-versions/transition-stage",
            json={"name": MODEL, "version": str(version), "stage": stage, "archive_existing_versions": False},
            timeout=30,
        ).raise_for_status()
        return time.monotonic()
