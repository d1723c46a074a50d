"""A look at every model, and what happens meanwhile."""

from collections.abc import Iterator

import pytest

from mlflow_ext.domain.stages import Stage
from tests.conftest import wait_until
from tests.unit.serving.followed import World
from tests.unit.serving.in_process import loaded


@pytest.fixture
def world() -> Iterator[World]:
    """A world with a version of a model, and no watcher yet."""
    made = World()
    made.registry.add("wine")
    yield made
    made.stop()


def test_a_look_at_everything_keeps_no_model_with_news_waiting(world: World) -> None:
    """With a hundred models to look at a flip is seen after one of them, not after all."""
    others = [f"other-{number}" for number in range(100)]
    for name in others:
        world.registry.add(name)
    world.watcher.start()
    assert world.watcher.wait_ready(20)
    world.slow, world.followed = frozenset(others), []
    world.notifications.wake()
    wait_until(lambda: len(world.followed) > 2, 10)
    world.stage(1, Stage.PRODUCTION)
    world.wait_served(1)
    assert len(set(world.followed)) < 50
    wait_until(lambda: set(others) <= set(world.followed), 20)


def test_ready_comes_after_a_whole_look(world: World) -> None:
    """Not ready while one of many models cannot be looked at, whatever else happens meanwhile."""
    for number in range(20):
        world.registry.add(f"other-{number}")
    world.database_is_away = True
    world.watcher.start()
    wait_until(lambda: bool(world.followed), 10)
    world.watcher.improve(loaded("wine", 1), loaded("wine", 1))
    assert not world.watcher.wait_ready(0.5)
    world.database_is_away = False
    assert world.watcher.wait_ready(20)
    assert len(set(world.followed)) == 21
