"""Labels that come after a window was checked: it is measured anew, and alert, MLflow and history follow."""

import pytest
from mlflow.entities import Run
from sqlalchemy import text

from drift.waiting import run_now
from drift.worker import check_step
from mlflow_ext.domain.alerts import AlertState
from mlflow_ext.domain.drift import CheckState, DriftCheck, DriftVerdict
from mlflow_ext.domain.retraining import Trigger
from mlflow_ext.registry.drift_history import HISTORY_TAG
from mlflow_ext.registry.drift_runs import SLOT_TAG
from mlflow_ext.store.alerts import Alerts
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.feedback import Feedback, FeedbackRow
from mlflow_ext.store.relabelling import Relabelling
from mlflow_ext.store.retraining_triggers import RetrainingTriggers
from tests.conftest import wait_until
from tests.integration.drift.conftest import HOUR, SINCE, World, answers, rows_like_training

ROWS = 300
BOUND = {"mean_absolute_error": {"above": 0.5, "minimum_rows": 50}}
DAY_S = 86_400.0


def checked(world: World, hour: int = 0) -> tuple[DriftCheck, list[str]]:
    """Score and check one hour; gives the check and the request ids."""
    since = SINCE + hour * HOUR
    ids = world.score(rows_like_training(ROWS, seed=7 + hour), since=since)
    check = run_now(world.parts, world.model, since=since, until=since + HOUR, version=None, quiet=True)
    assert check.state is CheckState.DONE, check.error
    return check, ids


def label(world: World, ids: list[str], *, off: float, hour: int = 0) -> None:
    """Send what is true of some requests: what was predicted, and so much more."""
    told = answers(rows_like_training(ROWS, seed=7 + hour))
    Feedback(world.engine).add(world.model, [FeedbackRow(ids[n], told[n] + off) for n in range(len(ids))])


def look(world: World, *, look_s: float = 0.0, wait_s: float = DAY_S) -> int:
    """Look for labels once, and do whatever there is to do."""
    entered = Relabelling(world.engine).enter(world.model, look_s=look_s, wait_s=wait_s)
    step = check_step(world.parts, "labels")
    while any(
        one.state not in (CheckState.DONE, CheckState.FAILED) for one in Checks(world.engine).history(world.model)
    ):
        assert step()
    return entered


def performance_alerts(world: World) -> list[tuple[AlertState, int | None]]:
    """State of each alert about performance, and the check that saw it last."""
    found = Alerts(world.engine).find(world.model)
    return [(one.state, one.check_id) for one in found if one.kind == "performance"]


def run_where(world: World, tag: str) -> Run:
    """Give the model's one drift run with a tag."""
    experiment = world.client.get_experiment_by_name(f"mlflow-ext/drift/{world.model}")
    assert experiment is not None
    [run] = world.client.search_runs([experiment.experiment_id], f"tags.`{tag}` != ''")
    return run


def test_a_window_is_measured_anew_as_its_labels_come(world: World) -> None:
    """Bad labels fire an alert, better ones resolve it; each measurement is kept, in MLflow at its own step."""
    world.with_policy(performance=BOUND)
    first, ids = checked(world)
    assert first.report is not None
    assert first.report.performance == {"labelled_rows": 0, "labelled_share": 0}
    assert first.report.performance_verdict is DriftVerdict.INCONCLUSIVE
    assert look(world) == 0

    label(world, ids[:120], off=2.0)
    assert look(world) == 1
    second = Checks(world.engine).get(first.id)
    assert second.report is not None
    assert second.report.performance["mean_absolute_error"] == pytest.approx(2.0)
    assert second.report.performance["labelled_share"] == pytest.approx(0.4)
    assert second.report.performance["label_lag_s"] > 0
    assert (second.evaluation, second.report.performance_verdict) == (1, DriftVerdict.DRIFT)
    assert (second.report.verdict, second.report.columns) == (first.report.verdict, first.report.columns)
    assert performance_alerts(world) == [(AlertState.FIRING, first.id)]

    label(world, ids, off=0.1)
    assert look(world) == 1
    third = Checks(world.engine).get(first.id)
    assert third.report is not None
    assert third.report.performance["mean_absolute_error"] == pytest.approx(0.1)
    assert performance_alerts(world) == [(AlertState.RESOLVED, first.id)]
    earlier = Relabelling(world.engine).earlier(first.id)
    assert [one.performance.get("mean_absolute_error") for one in earlier] == [None, pytest.approx(2.0)]

    own, history = run_where(world, SLOT_TAG), run_where(world, HISTORY_TAG)
    metric = "performance/mean_absolute_error"
    steps = [(one.step, one.value) for one in world.client.get_metric_history(own.info.run_id, metric)]
    assert sorted(steps) == [(1, pytest.approx(2.0)), (2, pytest.approx(0.1))]
    assert own.data.metrics[metric] == history.data.metrics[metric] == pytest.approx(0.1)
    over_time = world.client.get_metric_history(history.info.run_id, metric)
    assert [one.value for one in sorted(over_time, key=lambda one: one.timestamp)] == [
        pytest.approx(2.0),
        pytest.approx(0.1),
    ]
    assert len({one.step for one in over_time}) == 1
    assert len(world.client.get_metric_history(own.info.run_id, "drift/share")) == 1


def test_the_same_labels_again_and_a_few_more_change_nothing(world: World) -> None:
    """Below `label_growth` a window stays as it is told; feedback that is repeated is none; a correction counts."""
    world.with_policy(performance=BOUND, label_growth=0.2)
    check, ids = checked(world)
    label(world, ids[:150], off=0.1)
    look(world)
    label(world, ids[:150], off=0.1)
    look(world)
    label(world, ids[150:170], off=0.1)
    look(world)
    found = Checks(world.engine).get(check.id)
    assert found.report is not None
    assert (found.evaluation, found.report.performance["labelled_rows"]) == (1, 150)


def test_late_labels_of_an_older_window_do_not_undo_a_newer_one(world: World) -> None:
    """The newest window that has enough labels says whether the alert fires, in whatever order labels come."""
    world.with_policy(performance=BOUND)
    old, old_ids = checked(world)
    new, new_ids = checked(world, hour=1)
    label(world, old_ids, off=2.0)
    look(world)
    assert performance_alerts(world) == [(AlertState.FIRING, old.id)]
    label(world, new_ids, off=0.1, hour=1)
    look(world)
    assert performance_alerts(world) == [(AlertState.RESOLVED, old.id)]
    label(world, old_ids, off=3.0)
    look(world)
    assert Checks(world.engine).get(old.id).evaluation == 2
    assert performance_alerts(world) == [(AlertState.RESOLVED, old.id)]
    assert Checks(world.engine).get(new.id).evaluation == 1


def test_a_metric_asks_for_a_retraining_when_its_labels_have_come(world: World) -> None:
    """The trigger sees each measurement once; the check's first answer had no labels and asked for nothing."""
    check, ids = checked(world)
    triggers = RetrainingTriggers(world.engine)

    def keys() -> list[str]:
        return [one.key for one in triggers.unseen_checks(Trigger.METRIC) if one.model == world.model]

    assert keys() == [f"check {check.id}"]
    label(world, ids, off=2.0)
    look(world)
    assert keys() == [f"check {check.id}, evaluation 1"]
    assert [one.key for one in triggers.unseen_checks(Trigger.DRIFT) if one.model == world.model] == [
        f"check {check.id}"
    ]


def test_labels_are_looked_for_while_feedback_may_come(world: World) -> None:
    """Not sooner than the last look and `look_s`, and not after the wait."""
    _, ids = checked(world)
    label(world, ids[:100], off=0.0)
    assert look(world, look_s=3_600) == 0
    assert look(world) == 1
    with world.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE mlflow_ext.drift_check SET finished_at = finished_at - interval '3 days', "
                "labels_looked_at = labels_looked_at - interval '1 hour' WHERE model = :model"
            ),
            {"model": world.model},
        )
    label(world, ids, off=0.0)
    assert look(world, wait_s=DAY_S) == 0
    assert look(world, wait_s=7 * DAY_S) == 1


def test_what_the_retention_took_stays_as_it_was_told(world: World) -> None:
    """Where rows of the window are gone the earlier measurement stands."""
    check, ids = checked(world)
    with world.engine.begin() as connection:
        connection.execute(text("DELETE FROM mlflow_ext.segment WHERE model = :model"), {"model": world.model})
    label(world, ids, off=0.0)
    assert look(world) == 1
    found = Checks(world.engine).get(check.id)
    assert (found.evaluation, found.state) == (0, CheckState.DONE)


def test_a_worker_that_dies_while_it_measures_is_followed_by_another(world: World) -> None:
    """A claim without an end is taken over when its lease is; the measurement is stored once."""
    check, ids = checked(world)
    label(world, ids, off=0.5)
    dying = Relabelling(world.engine, owner="dying", lease_s=0.5)
    assert dying.enter(world.model, look_s=0, wait_s=DAY_S) == 1
    # other tests may have left checks of their own
    assert any(held.id == check.id for held in iter(dying.claim, None))
    step = check_step(world.parts, "other")
    wait_until(step, 60)
    while Checks(world.engine).get(check.id).state is not CheckState.DONE:
        step()
    assert Checks(world.engine).get(check.id).evaluation == 1
    assert len(Relabelling(world.engine).earlier(check.id)) == 1


def test_the_scheduler_looks_by_itself(world: World) -> None:
    """A running scheduler measures a window anew when feedback came: nobody asks it to."""
    world.with_policy(label_look_s=0, performance=BOUND)
    check, ids = checked(world)
    world.start("drift", "schedule")
    label(world, ids, off=2.0)
    wait_until(lambda: Checks(world.engine).get(check.id).evaluation == 1, 120, world.logs)
    assert [state for state, _ in performance_alerts(world)] == [AlertState.FIRING]
