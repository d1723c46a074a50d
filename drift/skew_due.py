"""When a version's skew is to be looked at: what the scheduler enters, once a version. What is looked at: `skew.py`."""

import logging

from mlflow_ext.domain.stages import Stage
from mlflow_ext.policy import DriftPolicy
from mlflow_ext.ports import Pointers, RegistryView
from mlflow_ext.store.skews import Skews

_log = logging.getLogger(__name__)


def enter_due(skews: Skews, view: RegistryView, pointers: Pointers, model: str, policy: DriftPolicy) -> int:
    """Enter the checks of skew that have become possible for a model; gives how many are new.

    Args:
        skews: The checks.
        view: The registry.
        pointers: Which version is served.
        model: Registered model.
        policy: How it is watched. Without a schedule, or with `skew_rows` 0, nobody asked for it.

    Raises:
        UnavailableError: PostgreSQL does not answer.
    """
    pointer = pointers.get(model)
    if policy.schedule is None or not policy.skew_rows or pointer is None or pointer.version is None:
        return 0
    entered, rows = 0, max(policy.skew_rows, policy.minimum_rows)
    for version in view.versions(model):
        if version.version == pointer.version:
            entered += skews.enter_served(version, rows)
            break
        if version.version > pointer.version and version.stage is not Stage.ARCHIVED:
            recent = (pointer.version, policy.window_s, rows)
            entered += skews.enter_registered(version, *recent)
    if entered:
        _log.info("skew.due model=%s checks=%d", model, entered)
    return entered
