"""The one place that builds adapters and owns the engine's lifetime. Processes call it once, at their start."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from pydantic import SecretStr
from sqlalchemy import Engine

from mlflow_ext import running as running_stack
from mlflow_ext.config import Settings, load
from mlflow_ext.domain.actors import acting
from mlflow_ext.domain.events import RegistryEvent
from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.domain.withdrawal import too_old
from mlflow_ext.lifecycle.decide import Decisions
from mlflow_ext.lifecycle.reconcile import agree_marks, reconcile_pointer
from mlflow_ext.lifecycle.roll_back import RolledBack, roll_back
from mlflow_ext.lifecycle.withdrawal import instead, return_after_withdrawal
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.ports import Approvals, EventLog, Pointers, Promotions, Registry, RegistryView, Results
from mlflow_ext.running import state_file
from mlflow_ext.store.engine import make_engine

__all__ = ["Lifecycle", "Services", "lifecycle", "running", "services", "state_file"]


@dataclass(frozen=True, slots=True)
class Services:
    """What a process works with; lives as long as the process."""

    settings: Settings
    engine: Engine


@contextmanager
def services(settings: Settings | None = None, *, name: str = "mlflow-ext") -> Iterator[Services]:
    """Build the services and dispose of the engine at the end.

    Addresses that are not set are those of the `mlflow-ext up` that runs on the data directory.

    Raises:
        InvalidSettingsError: The configuration has mistakes, or names no database while no `up` runs here.
    """
    settings = running(settings or load())
    engine = make_engine(settings.require_database_url(), name=name)
    try:
        yield Services(settings=settings, engine=engine)
    finally:
        engine.dispose()


@dataclass(frozen=True)
class Lifecycle:
    """The adapters that promoting and rolling back work with.

    Attributes:
        view: The registry's present state.
        events: The registry's changes.
        pointers: Which version of each model is served.
        promotions: The promotions and their story.
        approvals: People's words on promotions.
        policy: Gives the policy of a model.
        mlflow_url: Address of MLflow's server.
    """

    view: RegistryView
    events: EventLog
    pointers: Pointers
    promotions: Promotions
    approvals: Approvals
    policy: Callable[[str], ModelPolicy]
    mlflow_url: str

    @cached_property
    def registry(self) -> Registry:
        """Changes to the registry. Loads MLflow (seconds), which commands that only look or ask do not need."""
        from mlflow_ext.registry.client import MlflowRegistry, connect

        return MlflowRegistry(connect(self.mlflow_url))

    @property
    def decisions(self) -> Decisions:
        """What people may decide about promotions."""
        return Decisions(self.promotions, self.approvals, self.view, self._results, self.take_back)

    def take_back(self, model: str, comment: str = "", by: str = "") -> RolledBack:
        """Put the last good version back into Production, in the name of whoever acts."""
        said = (by or acting().name) + (f" ({comment})" if comment else "")
        return roll_back(
            model,
            self.view,
            self.promotions,
            self.pointers,
            self.registry,
            self.settle,
            requested_by=said,
            too_old=lambda version: self._too_old(model, version),
        )

    def _too_old(self, model: str, version: ModelVersion) -> str | None:
        window_s = self.policy(model).governance.rollback_window_s
        return too_old(version, self.events.latest(model), window_s, self.events.now())

    def _results(self) -> Results:
        from mlflow_ext.registry.client import connect
        from mlflow_ext.registry.results import MlflowResults

        return MlflowResults(connect(self.mlflow_url))

    def follow(self, model: str) -> ServingPointer | None:
        """Bring a model's pointer to its version in Production, or to what its policy returns to."""

        def back(name: str, versions: Sequence[ModelVersion], moves: Sequence[RegistryEvent]) -> int | None:
            found = instead(name, versions, moves, self.promotions, self.policy(name).governance)
            return found.version if found is not None and found.within else None

        return reconcile_pointer(model, self.view, self.pointers, self.events, back)

    def return_after_withdrawal(self, model: str) -> None:
        """Let MLflow's marks follow where the policy returns to an approved version."""
        governance = self.policy(model).governance
        if return_after_withdrawal(model, self.view, self.events, self.promotions, lambda: self.registry, governance):
            self.settle(model)

    def settle(self, model: str) -> None:
        """Bring a model's marks into agreement, and the serving pointer to its version in Production."""
        self.follow(model)
        agree_marks(model, self.view, self.events, self.pointers, self.registry)


def lifecycle(parts: Services, *, owner: str = "reader") -> Lifecycle:
    """Build the lifecycle's adapters.

    Args:
        parts: The process's services.
        owner: Name of a worker that claims promotions, unique among the living.
    """
    from mlflow_ext.store.approvals import SqlApprovals
    from mlflow_ext.store.events import SqlEventLog
    from mlflow_ext.store.pointers import SqlPointers
    from mlflow_ext.store.promotions import SqlPromotions
    from mlflow_ext.store.registry_view import SqlRegistryView

    return Lifecycle(
        view=SqlRegistryView(parts.engine),
        events=SqlEventLog(parts.engine),
        pointers=SqlPointers(parts.engine),
        promotions=SqlPromotions(parts.engine, owner=owner, lease_s=parts.settings.lease_s),
        approvals=SqlApprovals(parts.engine),
        policy=parts.settings.policy,
        mlflow_url=parts.settings.mlflow_url,
    )


def running(settings: Settings) -> Settings:
    """Fill in the addresses that are not set from the `mlflow-ext up` that runs on the data directory, if one does."""
    stack = running_stack.find(settings.data_dir)
    if stack is None:
        return settings
    if settings.database_url is not None and settings.database_url.get_secret_value() != stack.database_url:
        # set for another deployment: none of this one's addresses belong to it
        return settings
    found = {
        "database_url": SecretStr(stack.database_url),
        "mlflow_url": stack.mlflow_url,
        "serving_url": stack.serving_url,
    }
    return settings.model_copy(update={k: v for k, v in found.items() if k not in settings.model_fields_set})
