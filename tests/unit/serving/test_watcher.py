"""Following the registry, on the in-memory twins of the ports and a loader that does as it is told."""

import threading
from collections.abc import Iterator

import pytest

from mlflow_ext.domain.promotion import PromotionEvent
from mlflow_ext.domain.stages import ModelVersion, Stage
from mlflow_ext.errors import ChangedModelError, UnavailableError, UnsafeModelError
from serving import retries
from serving.last_served import ServedVersion
from tests.conftest import wait_until
from tests.unit.serving.followed import World


@pytest.fixture
def world() -> Iterator[World]:
    """A world with three versions of a model, none in Production, and no watcher yet."""
    made = World()
    for _ in range(3):
        made.registry.add("wine")
    yield made
    made.stop()


def test_ready_when_production_is_loaded(world: World) -> None:
    """Ready comes after the first look, once what is in Production is loaded, and not before."""
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.loads.held[1] = threading.Event()
    world.watcher.start()
    wait_until(lambda: world.loads.asked == [1], 10)
    assert not world.watcher.is_ready
    world.loads.held[1].set()
    assert world.watcher.wait_ready(10)
    assert world.served == 1


def test_ready_when_production_cannot_be_loaded(world: World) -> None:
    """A version that cannot be loaded does not keep the service from being ready for the others."""
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.loads.failing[1] = UnsafeModelError("it is broken")
    world.watcher.start()
    assert world.watcher.wait_ready(10)
    assert world.served is None
    assert world.pool.failures("wine")[1].reason == "it is broken"


def test_what_was_loaded_ahead_from_other_files_does_not_answer(world: World) -> None:
    """A version loaded before its gates passed answers only if its files are those that passed."""
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.loads.digest = "of other files"
    world.watcher.start()
    wait_until(lambda: world.pool.versions("wine") == [1, 2], 10)
    world.loads.failing[2] = ChangedModelError("its files were changed after the gates had passed")
    world.pinned[2] = "as judged"
    world.stage(2, Stage.PRODUCTION)
    wait_until(lambda: 2 in world.pool.failures("wine"), 10)
    assert world.served == 1
    assert "changed after the gates" in world.pool.failures("wine")[2].reason


def test_a_flip_to_a_loaded_version_loads_nothing(world: World) -> None:
    """A version loaded ahead in Staging answers with one assignment."""
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.watcher.start()
    wait_until(lambda: world.pool.versions("wine") == [1, 2], 10)
    world.stage(2, Stage.PRODUCTION)
    world.wait_served(2)
    world.stage(1, Stage.PRODUCTION)
    world.wait_served(1)
    assert sorted(world.loads.asked) == [1, 2]


def test_an_open_promotion_has_its_version_loaded(world: World) -> None:
    """A version is loaded when its promotion opens, whatever its marks say, and dropped when that ends without it."""
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.watcher.start()
    world.wait_served(1)
    world.promotions.request("wine", 3, source="rest", cause="a look", dry_run=True)
    opened = world.promotions.request("wine", 2, source="rest", cause="a release")
    world.notifications.notify("wine")
    wait_until(lambda: world.pool.versions("wine") == [1, 2], 60)
    world.promotions.record(opened, PromotionEvent.ABORT, note="not yet")
    world.notifications.notify("wine")
    wait_until(lambda: world.pool.versions("wine") == [1], 60)
    # a dry run leads nowhere, so nothing was loaded for it
    assert sorted(world.loads.asked) == [1, 2]


def test_a_version_is_loaded_again_when_its_quantised_twin_is_judged(world: World) -> None:
    """What was loaded before the verdict answers at the flip; what the gate let answer takes its place, once."""
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.loads.quantised_later = True
    world.watcher.start()
    wait_until(lambda: world.pool.versions("wine") == [1, 2], 60)
    world.loads.quantised_later = False
    world.loads.held[2] = threading.Event()
    world.pinned[2] = "as judged"
    world.stage(2, Stage.PRODUCTION)
    world.wait_served(2)
    assert world.pool.champion("wine").quantised_later
    world.loads.held[2].set()
    wait_until(lambda: not world.pool.champion("wine").quantised_later, 60)
    world.notifications.notify("wine")
    world.stage(1, Stage.PRODUCTION)
    world.wait_served(1)
    assert sorted(world.loads.asked) == [1, 2, 2]


def test_many_open_promotions_do_not_eat_the_memory(world: World) -> None:
    """Fifty promotions are open: the newest few are loaded, and one that opens later takes the oldest one's place."""
    world.load_ahead = 2
    for _ in range(50):
        world.registry.add("wine")
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    for version in range(2, 52):
        world.promotions.request("wine", version, source="rest", cause=f"release {version}")
    world.watcher.start()
    wait_until(lambda: world.pool.versions("wine") == [1, 50, 51], 60)
    world.promotions.request("wine", 52, source="rest", cause="release 52")
    world.notifications.notify("wine")
    wait_until(lambda: world.pool.versions("wine") == [1, 51, 52], 60)
    assert sorted(world.loads.asked) == [1, 50, 51, 52]


def test_the_old_version_answers_until_the_new_one_is_loaded(world: World) -> None:
    """While a new Production version loads, and for ever when that fails, the old one answers."""
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.watcher.start()
    world.wait_served(1)
    world.loads.held[2] = threading.Event()
    world.loads.failing[2] = UnsafeModelError("it is broken")
    world.stage(2, Stage.PRODUCTION)
    wait_until(lambda: 2 in world.loads.asked, 10)
    assert world.served == 1
    world.loads.held[2].set()
    wait_until(lambda: 2 in world.pool.failures("wine"), 10)
    assert world.served == 1
    assert world.changes
    world.stage(3, Stage.PRODUCTION)
    world.wait_served(3)


def test_where_nothing_answers_nothing_is_risked(world: World) -> None:
    """What is loaded beside an answering version predicts logged requests; the only one that could answer need not."""
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.watcher.start()
    wait_until(lambda: world.pool.versions("wine") == [1, 2], 60)
    world.stage(3, Stage.PRODUCTION)
    world.wait_served(3)
    assert (sorted(world.loads.asked), sorted(world.loads.warmed)) == ([1, 2, 3], [2, 3])


def test_a_load_in_progress_does_not_hold_up_other_models(world: World) -> None:
    """While one model loads, a flip of another one is followed."""
    world.registry.add("beer")
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.watcher.start()
    world.wait_served(1)
    world.loads.held[2] = threading.Event()
    world.stage(2, Stage.PRODUCTION)
    wait_until(lambda: 2 in world.loads.asked, 10)
    world.registry.set_stage("beer", 1, Stage.PRODUCTION)
    world.notifications.notify("beer")
    wait_until(lambda: world.pool.serving("beer"), 10)
    assert world.served == 1


def test_an_outdated_load_is_not_served(world: World) -> None:
    """A version whose load ends after Production moved on does not answer."""
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.watcher.start()
    world.wait_served(1)
    world.loads.held[2] = threading.Event()
    world.stage(2, Stage.PRODUCTION)
    wait_until(lambda: 2 in world.loads.asked, 10)
    world.stage(3, Stage.PRODUCTION)
    world.wait_served(3)
    world.loads.held[2].set()
    wait_until(lambda: world.pool.get("wine", 2) is not None, 10)
    assert world.served == 3


def test_loads_are_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that failed for something passing is tried again by itself."""
    monkeypatch.setattr(retries, "PASSING_S", (0.02, 0.1))
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.loads.failing[1] = UnavailableError("MLflow does not answer")
    world.watcher.start()
    wait_until(lambda: len(world.loads.asked) >= 3, 10)
    assert world.served is None
    del world.loads.failing[1]
    world.wait_served(1)
    assert world.pool.failures("wine") == {}


def test_a_fresh_decision_tries_a_failed_version_at_once(world: World) -> None:
    """A version that could not be loaded ahead is tried anew when it is put into Production."""
    world.registry.set_stage("wine", 1, Stage.STAGING)
    world.loads.failing[1] = UnsafeModelError("it is broken")
    world.watcher.start()
    wait_until(lambda: world.pool.failures("wine"), 10)
    del world.loads.failing[1]
    world.stage(1, Stage.PRODUCTION)
    world.wait_served(1)


def test_withdrawn_and_deleted(world: World) -> None:
    """Nothing answers once nothing is in Production, and nothing stays loaded once the model is gone."""
    world.keep_previous_s = 0.0
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.watcher.start()
    world.wait_served(1)
    world.stage(1, Stage.ARCHIVED)
    world.wait_served(None)
    wait_until(lambda: world.pool.versions("wine") == [], 10)
    world.stage(2, Stage.PRODUCTION)
    world.wait_served(2)
    world.registry.kept.clear()
    world.notifications.wake()
    wait_until(lambda: not world.pool.knows("wine"), 10)
    assert world.pool.versions("wine") == []


def test_a_database_that_is_away_stops_nothing(world: World) -> None:
    """While the database is away what is served goes on, and it is followed again afterwards."""
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.watcher.start()
    world.wait_served(1)
    world.database_is_away = True
    world.stage(2, Stage.PRODUCTION)
    world.notifications.wake()
    assert world.served == 1
    world.database_is_away = False
    world.wait_served(2)


def test_another_source_is_another_model(world: World) -> None:
    """A version number that was deleted and given again with other files is loaded again."""
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.watcher.start()
    world.wait_served(1)
    world.registry.kept["wine", 1] = ModelVersion("wine", 1, Stage.PRODUCTION, source="models:/m-new")
    world.notifications.notify("wine")
    wait_until(lambda: (found := world.pool.serving("wine")) and found.loaded.source == "models:/m-new", 10)
    assert world.loads.asked == [1, 1]


def test_a_crash_in_a_loader_is_a_failure_like_others(world: World) -> None:
    """A loader that breaks in an unforeseen way is recorded as a failure, not forgotten."""
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.loads.failing[1] = ZeroDivisionError("what")
    world.watcher.start()
    assert world.watcher.wait_ready(10)
    assert "ZeroDivisionError" in world.pool.failures("wine")[1].reason


def served_last(digest: str) -> ServedVersion:
    """Say that version 2 of the world's model was served last."""
    return ServedVersion("wine", 2, "models:/m-2", "default", 5, digest)


def test_a_start_without_the_database_serves_what_was_served_last(world: World) -> None:
    """The copy is loaded and the process is ready; when the registry can be read again, it alone counts."""
    world.served_last = [served_last("as judged")]
    world.registry.set_stage("wine", 3, Stage.PRODUCTION)
    world.database_is_away = True
    world.watcher.start()
    assert world.watcher.wait_ready(10)
    assert world.served == 2
    assert world.loads.again == [(2, "as judged")]
    world.database_is_away = False
    world.wait_served(3)


def test_a_changed_copy_is_not_served(world: World) -> None:
    """A copy that is not what was served is refused with the reason; the registry decides once it can be read."""
    world.served_last = [served_last("something else")]
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.database_is_away = True
    world.watcher.start()
    wait_until(lambda: 2 in world.pool.failures("wine"), 10)
    assert world.served is None
    world.database_is_away = False
    world.wait_served(1)


def test_a_first_start_without_the_database_is_not_ready(world: World) -> None:
    """Where nothing was ever served, there is nothing to be ready with."""
    world.database_is_away = True
    world.watcher.start()
    assert not world.watcher.wait_ready(0.5)
