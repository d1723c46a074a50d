"""What a check reads, whatever it is about."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drift.profiles import Profiles
from drift.weights import Importances
from mlflow_ext.domain.drift import DriftCheck, DriftReport
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.ports import Pointers, RegistryView
from mlflow_ext.store.labels import Labels
from mlflow_ext.store.partials import Partials
from mlflow_ext.store.segments import Segments


@dataclass(frozen=True, slots=True)
class Sources:
    """What a check reads.

    Attributes:
        pointers: Which version is served.
        view: The registry.
        index: Where the predictions are.
        partials: What is already counted of them.
        labels: What became of them.
        profiles: What they are compared with.
        importances: What the versions' models say about their columns.
        policy_of: How a model is watched, as the configuration says now.
        before: Gives the reports on the windows before a check's.
    """

    pointers: Pointers
    view: RegistryView
    index: Segments
    partials: Partials
    labels: Labels
    profiles: Profiles
    importances: Importances
    policy_of: Callable[[str], ModelPolicy]
    before: Callable[[DriftCheck, int, int], Sequence[DriftReport]]
