"""A person's word: approve, reject, abort."""

import pytest

from mlflow_ext.domain.actors import Actor, Source, acting, acting_as
from mlflow_ext.domain.promotion import PromotionState
from mlflow_ext.domain.stages import Stage
from mlflow_ext.domain.staging import APPROVED_TAG
from mlflow_ext.errors import ConflictError, IllegalTransitionError, NotFoundError, UnavailableError
from mlflow_ext.lifecycle.decide import Decisions
from mlflow_ext.lifecycle.roll_back import roll_back
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.testing import MemoryApprovals, MemoryResults
from tests.unit.lifecycle.world import World, with_versions

ASKS = ModelPolicy.model_validate({"gates": [{"metric": "auc", "threshold": 0.5}, {"gate": "approval"}]})
EVE = Actor("rest:eve", Source.REST)


@pytest.fixture
def asking() -> World:
    """A world whose policy asks for a person."""
    return with_versions(World(ASKS))


def decisions(world: World) -> Decisions:
    """The use case on the twins."""
    return Decisions(
        world.promotions,
        MemoryApprovals(world.shelf),
        world.registry,
        lambda: world.results,
        lambda model, comment: roll_back(
            model,
            world.registry,
            world.promotions,
            world.pointers,
            world.registry,
            world.settle,
            requested_by=f"{acting().name} ({comment})",
        ),
    )


def test_an_approved_version_goes_to_production(asking: World) -> None:
    """It waits after its gates; one word later a worker publishes it, and a tag says who agreed."""
    asking.registry.set_stage("wine", 2, Stage.STAGING)
    waiting = asking.work()
    assert waiting.state is PromotionState.AWAITING_APPROVAL
    assert f"`mlflow-ext approve {waiting.id}`" in waiting.reason
    assert f"`mlflow-ext approve {waiting.id}`" in waiting.next_step
    assert asking.stages() == ["Production", "Staging", "None"]
    with acting_as(EVE):
        decisions(asking).approve(waiting.id, " fine ")
    assert asking.work().state is PromotionState.PROMOTED
    version = asking.registry.version("wine", 2)
    assert version.stage is Stage.PRODUCTION
    assert version.tags[APPROVED_TAG] == f"approved by eve (fine) (promotion {waiting.id})"
    assert asking.promotions.get(waiting.id).reason == "version 2 is in Production, approved by eve (fine)"


def test_what_was_compared_with_another_version_has_to_be_compared_anew(asking: World) -> None:
    """Production changed while people thought: approving is refused, and the message says what to do."""
    asking.registry.set_stage("wine", 2, Stage.STAGING)
    waiting = asking.work()
    asking.registry.set_stage("wine", 3, Stage.PRODUCTION)
    asking.look()
    with pytest.raises(ConflictError, match=f"version 3 of wine is in.*abort {waiting.id}.*promote wine 2"):
        decisions(asking).approve(waiting.id)
    assert asking.promotions.get(waiting.id).state is PromotionState.AWAITING_APPROVAL


def test_a_failing_gate_is_not_put_before_people(asking: World) -> None:
    """What a gate refuses is rejected, approval gate or not."""
    asking.registry.set_stage("wine", 3, Stage.STAGING)
    assert asking.work().state is PromotionState.REJECTED


def test_a_rejected_version_stays_and_is_not_judged_again(asking: World) -> None:
    """The reason is in the story and in MLflow; no look opens another promotion."""
    asking.registry.set_stage("wine", 2, Stage.STAGING)
    waiting = asking.work()
    with acting_as(EVE):
        after = decisions(asking).reject(waiting.id, "too late in the quarter")
    assert (after.state, after.reason) == (
        PromotionState.REJECTED,
        "rejected by rest:eve: too late in the quarter",
    )
    assert "too late in the quarter" in asking.results.written[-1][2]
    assert asking.look() == []
    assert asking.stages() == ["Production", "Staging", "None"]
    with pytest.raises(IllegalTransitionError):
        decisions(asking).reject(waiting.id)


def test_a_rejection_stands_when_mlflow_does_not_answer(asking: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's page is told when it can be."""
    asking.registry.set_stage("wine", 2, Stage.STAGING)
    waiting = asking.work()

    def silent(*_: object) -> None:
        raise UnavailableError("MLflow does not answer")

    monkeypatch.setattr(MemoryResults, "write", silent)
    assert decisions(asking).reject(waiting.id).state is PromotionState.REJECTED


def test_rejecting_the_version_in_production_rolls_back(world: World) -> None:
    """The former version is in Production again, the promotion says rolled back and by whom."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    promoted = world.work()
    world.registry.log.clock.advance(1)
    with acting_as(EVE):
        after = decisions(world).reject(promoted.id, "complaints")
    assert after.state is PromotionState.ROLLED_BACK
    assert after.reason == "rolled back to version 1 by rest:eve (complaints)"
    assert world.stages() == ["Production", "Archived", "None"]
    with pytest.raises(ConflictError):
        decisions(world).reject(promoted.id)


@pytest.mark.parametrize("state", ["requested", "evaluating", "awaiting_approval"])
def test_an_open_promotion_can_be_aborted(asking: World, state: str) -> None:
    """Wherever it stands; the worker that held it is refused, the version stays, nothing is opened again."""
    asking.registry.set_stage("wine", 2, Stage.STAGING)
    [opened] = asking.look()
    held = asking.promotions.claim() if state != "requested" else None
    if state == "awaiting_approval":
        assert held is not None
        asking.promoter().advance(held, lambda: False)
    assert asking.promotions.get(opened.id).state == state
    with acting_as(EVE):
        after = decisions(asking).abort(opened.id, "wrong data")
    assert (after.state, after.reason) == (PromotionState.ABORTED, "aborted by rest:eve: wrong data")
    assert decisions(asking).abort(opened.id).state is PromotionState.ABORTED
    if held is not None:
        assert not asking.promotions.renew(held)
    assert asking.look() == []
    assert asking.stages() == ["Production", "Staging", "None"]


def test_what_a_worker_is_moving_is_not_torn_from_its_hands(asking: World) -> None:
    """While a living worker publishes, aborting is refused; once nobody holds it, it is possible."""
    asking.registry.set_stage("wine", 2, Stage.STAGING)
    waiting = asking.work()
    with acting_as(EVE):
        decisions(asking).approve(waiting.id)
    held = asking.promotions.claim()
    assert held is not None
    with pytest.raises(ConflictError, match="right now; `mlflow-ext rollback wine`"):
        decisions(asking).abort(waiting.id)
    asking.killed()
    assert decisions(asking).abort(waiting.id).state is PromotionState.ABORTED
    assert asking.stages() == ["Production", "Staging", "None"]


def test_what_is_in_production_already_is_not_aborted(asking: World) -> None:
    """A worker died after the move and before it could say so: the way back is a rollback."""
    asking.registry.set_stage("wine", 2, Stage.STAGING)
    waiting = asking.work()
    with acting_as(EVE):
        decisions(asking).approve(waiting.id)
    asking.promotions.claim()
    asking.registry.set_stage("wine", 2, Stage.PRODUCTION)
    asking.killed()
    with pytest.raises(ConflictError, match="is in Production already"):
        decisions(asking).abort(waiting.id)


def test_an_end_cannot_be_aborted(world: World) -> None:
    """What has ended stays as it is, and an unknown number is said to be unknown."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    promoted = world.work()
    with pytest.raises(IllegalTransitionError):
        decisions(world).abort(promoted.id)
    with pytest.raises(NotFoundError):
        decisions(world).abort(99)
