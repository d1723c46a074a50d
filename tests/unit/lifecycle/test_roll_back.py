"""Rolling back: to which version, and never to a bad one."""

import pytest

from mlflow_ext.domain.promotion import PromotionState
from mlflow_ext.domain.stages import Stage
from mlflow_ext.errors import ConflictError, NotFoundError
from mlflow_ext.lifecycle.roll_back import roll_back
from tests.unit.lifecycle.world import World


def back(world: World) -> int:
    """Roll back, a second later; gives the version that is in Production then."""
    world.registry.log.clock.advance(1)
    done = roll_back(
        "wine", world.registry, world.promotions, world.pointers, world.registry, world.settle, requested_by="ana"
    )
    return done.to_version


def test_rollback_returns_to_the_version_served_before_and_never_to_a_bad_one(world: World) -> None:
    """The bad version's promotion says rolled back; a second rollback does not bring it back."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    promoted = world.work()
    assert back(world) == 1
    assert world.stages() == ["Production", "Archived", "None"]
    rolled = world.promotions.get(promoted.id)
    assert (rolled.state, rolled.reason) == (PromotionState.ROLLED_BACK, "rolled back to version 1 by ana")
    with pytest.raises(ConflictError, match="no earlier good version"):
        back(world)
    assert world.look() == []


def test_a_version_rolled_back_can_be_promoted_again(world: World) -> None:
    """A new promotion clears the mark of the rollback."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.work()
    back(world)
    world.look()
    world.registry.set_stage("wine", 2, Stage.STAGING)
    assert world.work().state is PromotionState.PROMOTED
    assert "mlflow_ext.rolled_back" not in world.registry.version("wine", 2).tags


def test_rollback_of_an_unknown_model(world: World) -> None:
    """It says that there is none."""
    with pytest.raises(NotFoundError):
        roll_back("beer", world.registry, world.promotions, world.pointers, world.registry, world.settle)
