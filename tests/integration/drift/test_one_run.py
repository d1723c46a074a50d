"""One MLflow run for each slot, also when a worker sleeps while it delivers and another one takes its check over."""

from dataclasses import replace
from typing import Any

import pytest

from mlflow_ext.domain.drift import CheckState, DriftCheck, DriftReport, DriftVerdict, Window
from mlflow_ext.registry.drift_runs import SLOT_TAG, DriftRuns, RunDocuments
from tests.integration.drift.conftest import HOUR, SINCE, World


def delivery(world: World, hour: int = 0) -> tuple[DriftCheck, DriftReport]:
    """A result that waits for MLflow, claimed for the first time."""
    window = Window(SINCE + hour * HOUR, SINCE + (hour + 1) * HOUR)
    check = DriftCheck(hour, world.model, 1, f"drift:{world.model}", window.until, window, CheckState.DELIVERING, 2)
    return check, DriftReport(world.model, 1, window, DriftVerdict.OK, "fine", 500, 900)


def runs_of(world: World) -> list[tuple[str, str, str]]:
    """Slot, number and state of the model's runs."""
    experiment = world.client.get_experiment_by_name(f"mlflow-ext/drift/{world.model}")
    assert experiment is not None
    found = world.client.search_runs([experiment.experiment_id], f"tags.`{SLOT_TAG}` != ''")
    return sorted((run.data.tags[SLOT_TAG], run.info.run_id, run.info.status) for run in found)


class Sleepy(DriftRuns):
    """A deliverer that sleeps when it has seen that there is no run, and wakes up when the other has delivered."""

    def __init__(self, world: World, other: tuple[DriftCheck, DriftReport], *, dies: bool = False) -> None:
        """Take what the other delivers meanwhile, and whether this one dies once it has begun a run."""
        super().__init__(world.client)
        self._other, self._world, self._dies = other, world, dies
        self.theirs = ""

    def _begin(self, *arguments: Any) -> str:
        self.theirs = DriftRuns(self._world.client).deliver(*self._other, RunDocuments())
        begun = super()._begin(*arguments)
        if self._dies:
            raise KeyboardInterrupt
        return begun


def test_who_wakes_up_late_leaves_no_second_run(world: World) -> None:
    """It takes back the run that it begins, and goes on with the one that is finished."""
    check, report = delivery(world)
    sleepy = Sleepy(world, (replace(check, attempt=3), report))
    assert sleepy.deliver(check, report, RunDocuments()) == sleepy.theirs
    assert runs_of(world) == [(check.key, sleepy.theirs, "FINISHED")]


def test_a_second_run_of_one_that_died_is_gone_with_the_next_delivery(world: World) -> None:
    """Killed right after it began a run too many; whoever delivers the next slot clears up."""
    check, report = delivery(world)
    sleepy = Sleepy(world, (replace(check, attempt=3), report), dies=True)
    with pytest.raises(KeyboardInterrupt):
        sleepy.deliver(check, report, RunDocuments())
    assert len(runs_of(world)) == 2
    following = delivery(world, 1)
    theirs = DriftRuns(world.client).deliver(*following, RunDocuments())
    assert runs_of(world) == [(check.key, sleepy.theirs, "FINISHED"), (following[0].key, theirs, "FINISHED")]
