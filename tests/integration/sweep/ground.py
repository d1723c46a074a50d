"""What a sweep stands on: a database, MLflow's server and workers of its own, and models that cost nothing to make."""

import itertools
import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr
from sqlalchemy import text

from mlflow_ext.bootstrap import Lifecycle, Services, lifecycle
from mlflow_ext.config import Settings
from mlflow_ext.domain.stages import Mark, ModelVersion, Stage
from mlflow_ext.plugins.registry_store import registry_store
from mlflow_ext.store.audit import SqlAudit
from mlflow_ext.store.engine import make_engine
from tests.conftest import answers, free_port, wait_until
from tests.integration.sweep import points
from tests.integration.sweep.nursery import Nursery

LEASE_S = 1.0
STOPPED_S = 2.5
"""So long is a process stopped: more than twice the lease."""
WITHIN_S = 10.0
"""So soon after the lease has ended everything has to be as if nothing had happened."""
GATES = {"gates": [{"metric": "quality", "threshold": 0.5}, {"metric": "other", "threshold": 0.5}]}


@dataclass
class Ground:
    """A database with MLflow on it, and the processes that work there.

    Attributes:
        database_url: The database.
        directory: For logs, settings and notes of strikes.
        nursery: Starts processes.
    """

    database_url: str
    directory: Path
    nursery: Nursery
    port: int = field(default_factory=free_port)
    mlflow: int = 0
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        """MLflow's address."""
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def services(self) -> Services:
        """What the test itself looks with."""
        settings = Settings(database_url=SecretStr(self.database_url), mlflow_url=self.url, data_dir=self.directory)
        return Services(settings, make_engine(self.database_url))

    @cached_property
    def parts(self) -> Lifecycle:
        """The lifecycle's adapters."""
        return lifecycle(self.services)

    @cached_property
    def store(self) -> Any:
        """MLflow's registry store with ours over it, in this process: how a person moves marks."""
        return registry_store(self.database_url)

    @cached_property
    def audit(self) -> SqlAudit:
        """The trail."""
        return SqlAudit(self.services.engine)

    def start_mlflow(self) -> None:
        """Start MLflow's server, on the same port each time, and wait until it answers."""
        environment = {
            "_MLFLOW_SERVER_FILE_STORE": self.database_url,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(self.directory / "artifacts"),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        self.mlflow = self.nursery.start("mlflow", environment, [str(self.port)])
        wait_until(lambda: answers(f"{self.url}/health"), 90, self.nursery.logs)

    def environment(self, policies: Mapping[str, Mapping[str, Any]], **more: str) -> dict[str, str]:
        """Give the settings of workers and commands under policies by model."""
        file = self.directory / f"policies-{next(self._numbers)}.yaml"
        file.write_text(yaml.safe_dump({"models": {model: dict(policy) for model, policy in policies.items()}}))
        return {
            "MLFLOW_EXT_DATABASE_URL": self.database_url,
            "MLFLOW_EXT_MLFLOW_URL": self.url,
            "MLFLOW_EXT_DATA_DIR": str(self.directory),
            "MLFLOW_EXT_CONFIG": str(file),
            "MLFLOW_EXT_LEASE_S": str(LEASE_S),
            "MLFLOW_EXT_RECONCILE_S": "1",
            **more,
        }

    def orders(self, orders: Mapping[str, tuple[str, str]]) -> Path:
        """Write down what strikes which model; gives the directory where strikes are noted."""
        directory = self.directory / f"strikes-{next(self._numbers)}"
        directory.mkdir()
        (directory / points.ORDERS).write_text(json.dumps(orders), encoding="utf-8")
        return directory

    def model(self, *sources: str) -> str:
        """Register a model with a version of each kind: `good`, `bad`, `slow`."""
        name = f"sweep-{next(self._numbers)}"
        self.store.create_registered_model(name)
        for source in sources:
            self.store.create_model_version(name, f"s3://bucket/{source}")
        return name

    def forget(self, model: str) -> None:
        """Remove a model from MLflow's registry: workers look at every model there each second."""
        self.store.delete_registered_model(model)

    def move(self, model: str, version: int, stage: Stage) -> None:
        """Change the stage as a person does."""
        self.store.transition_model_version_stage(model, str(version), stage.value, stage is Stage.PRODUCTION)

    def versions(self, model: str) -> dict[int, ModelVersion]:
        """Give a model's versions by number."""
        return {version.version: version for version in self.parts.view.versions(model)}

    def shows(self, model: str, production: int) -> bool:
        """Tell whether every mark, and the pointer, names this version as the only one in Production."""
        pointer = self.parts.pointers.get(model)
        return (pointer.version if pointer else None) == production and all(
            all((version.stage_by(mark) is Stage.PRODUCTION) == (number == production) for mark in Mark)
            for number, version in self.versions(model).items()
        )

    def effects(self, model: str) -> dict[str, int]:
        """Count what must not happen twice: arrivals in Production by version, and steps of promotions."""
        arrivals = text(
            "SELECT version, count(*) FROM mlflow_ext.registry_event WHERE model = :m AND kind = 'stage' "
            "AND new = 'Production' GROUP BY version"
        )
        steps = text(
            "SELECT promotion_id || ' ' || action, count(*) FROM mlflow_ext.audit WHERE model = :m "
            "AND promotion_id IS NOT NULL GROUP BY 1"
        )
        with self.services.engine.connect() as connection:
            found = {f"version {row[0]}": row[1] for row in connection.execute(arrivals, {"m": model})}
            return found | {row[0]: row[1] for row in connection.execute(steps, {"m": model})}

    def wake(self, pid: int) -> None:
        """Let a stopped process go on."""
        os.kill(pid, signal.SIGCONT)

    def end(self, pids: list[int]) -> None:
        """End processes at once, and wait until they are gone."""
        for pid in pids:
            if self.nursery.ended(pid) is None:
                os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 10
        while any(self.nursery.ended(pid) is None for pid in pids) and time.monotonic() < end:
            time.sleep(0.02)

    def close(self) -> None:
        """End all processes."""
        self.nursery.close()
        if "services" in self.__dict__:
            self.services.engine.dispose()
        if "store" in self.__dict__:
            self.store.engine.dispose()
