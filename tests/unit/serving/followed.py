"""A registry of the in-memory twins, a watcher that follows it, and a loader that does as it is told."""

import threading
import time
from dataclasses import dataclass, field, replace

from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.domain.stages import ModelVersion, Stage
from mlflow_ext.errors import UnavailableError
from mlflow_ext.lifecycle.reconcile import reconcile_pointer
from mlflow_ext.testing.notifications import MemoryNotifications
from mlflow_ext.testing.pointers import MemoryPointers
from mlflow_ext.testing.promotions import MemoryPromotions
from mlflow_ext.testing.registry import MemoryRegistry
from serving.last_served import ServedVersion
from serving.metrics import Metrics
from serving.pool import LoadedVersion, Pool
from serving.watcher import Watcher
from tests.conftest import wait_until
from tests.unit.serving.in_process import loaded


@dataclass
class Loads:
    """A loader: fails for versions it is told to fail for, and waits where it is told to wait."""

    failing: dict[int, Exception] = field(default_factory=dict)
    held: dict[int, threading.Event] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    digest: str = "as judged"
    quantised_later: bool = False
    warmed: list[int] = field(default_factory=list)
    again: list[tuple[int, str]] = field(default_factory=list)

    def load_again(self, version: ModelVersion, digest: str) -> LoadedVersion:
        """Load from a copy."""
        self.again.append((version.version, digest))
        if digest != self.digest:
            raise UnavailableError("the copy is changed")
        return self.load(version, warm=False)

    def load(self, version: ModelVersion, *, warm: bool) -> LoadedVersion:
        """Load."""
        if warm:
            self.warmed.append(version.version)
        self.asked.append(version.version)
        if version.version in self.held:
            self.held[version.version].wait(20)
        if version.version in self.failing:
            raise self.failing[version.version]
        made = loaded(version.model, version.version, quantised_later=self.quantised_later)
        return replace(made, source=version.source, digest=self.digest)


@dataclass
class World:
    """A registry, what follows it, and what came of it."""

    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    pointers: MemoryPointers = field(default_factory=MemoryPointers)
    notifications: MemoryNotifications = field(default_factory=MemoryNotifications)
    loads: Loads = field(default_factory=Loads)
    pool: Pool = field(default_factory=Pool)
    changes: list[None] = field(default_factory=list)
    pinned: dict[int, str] = field(default_factory=dict)
    database_is_away: bool = False
    served_last: list[ServedVersion] = field(default_factory=list)
    # the twins' clock stands still, in the past
    keep_previous_s: float = 1e9
    promotions: MemoryPromotions = field(default_factory=MemoryPromotions)
    load_ahead: int = 4
    followed: list[str] = field(default_factory=list)
    slow: frozenset[str] = frozenset()
    watcher: Watcher = field(init=False)

    def __post_init__(self) -> None:
        """Put it together."""
        self.watcher = Watcher(
            pool=self.pool,
            loader=self.loads,
            view=self.registry,
            follow=self._follow,
            notifications=self.notifications,
            metrics=Metrics(),
            keep_previous_s=lambda model: self.keep_previous_s,
            load_ahead=lambda model: self.load_ahead,
            promoted=self.promotions.open_versions,
            pinned=lambda _: self.pinned,
            reconcile_s=30,
            on_change=lambda: self.changes.append(None),
            served_last=lambda: self.served_last,
        )

    def _follow(self, model: str) -> ServingPointer | None:
        self.followed.append(model)
        if model in self.slow:
            time.sleep(0.02)
        if self.database_is_away:
            raise UnavailableError("PostgreSQL does not answer")
        return reconcile_pointer(model, self.registry, self.pointers, self.registry.log)

    def stage(self, version: int, stage: Stage) -> None:
        """Set a stage, as MLflow does, and notify."""
        self.registry.set_stage("wine", version, stage)
        self.notifications.notify("wine")

    @property
    def served(self) -> int | None:
        """Which version answers."""
        champion = self.pool.serving("wine")
        return champion.loaded.version if champion else None

    def wait_served(self, version: int | None) -> None:
        """Wait until a version answers."""
        wait_until(lambda: self.served == version, 10)

    def stop(self) -> None:
        """End watching; no load waits any more."""
        for held in self.loads.held.values():
            held.set()
        self.watcher.stop()
