"""Asking for a promotion by command."""

import pytest

from mlflow_ext.domain.promotion import Promotion, PromotionState
from mlflow_ext.domain.stages import Stage
from mlflow_ext.domain.staging import OVERRIDE_TAG
from mlflow_ext.errors import ConflictError, InvalidInputError, NotFoundError, PromotionInProgressError
from mlflow_ext.lifecycle.request_promotion import override_promotion, request_promotion
from tests.unit.lifecycle.world import World


def test_asking_by_command(world: World) -> None:
    """Unknown versions, versions in Production and open promotions are answered clearly."""

    def ask(version: int, *, dry_run: bool = False, cause: str = "cli:1") -> Promotion:
        return request_promotion(
            "wine", version, world.registry, world.promotions, source="cli", cause=cause, dry_run=dry_run
        )

    with pytest.raises(NotFoundError, match="no version 9; its versions are 3, 2, 1"):
        ask(9)
    with pytest.raises(ConflictError, match="in Production already"):
        ask(1)
    first = ask(2)
    assert ask(2, cause="cli:2") == first
    with pytest.raises(PromotionInProgressError):
        ask(2, cause="cli:3", dry_run=True)
    assert world.work().state is PromotionState.PROMOTED


def test_an_override_needs_a_reason_and_goes_past_the_gates(world: World) -> None:
    """The version that its gates would refuse goes to Production, with who and why in story, tag and row."""
    with pytest.raises(InvalidInputError, match="needs a reason"):
        override(world, " ")
    promotion = override(world, "incident 7 ")
    assert (promotion.state, promotion.override_reason) == (PromotionState.ROLLING_OUT, "incident 7")
    assert world.work().state is PromotionState.PROMOTED
    version = world.registry.version("wine", 3)
    assert version.stage is Stage.PRODUCTION
    assert version.tags[OVERRIDE_TAG] == f"past its gates, by alice: incident 7 (promotion {promotion.id})"
    assert world.evaluator.calls == []


def test_a_promotion_that_is_being_judged_can_be_overridden(world: World) -> None:
    """The worker that measures loses its hold; the next claim publishes."""
    asked = world.promotions.request("wine", 3, source="cli", cause="one")
    held = world.promotions.claim()
    assert held is not None
    promotion = override(world, "incident 7")
    assert promotion.id == asked.id
    assert not world.promotions.renew(held)
    assert world.work().state is PromotionState.PROMOTED


def test_an_override_is_said_against_what_is_in_production_then(world: World) -> None:
    """Another version that goes to Production later outranks it; one that was there before does not."""
    world.registry.set_stage("wine", 2, Stage.PRODUCTION)
    promotion = override(world, "incident 7")
    assert promotion.champion_version == 2
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    ended = world.work()
    assert ended.state is PromotionState.SUPERSEDED
    assert "version 1 went to Production after the override was asked for" in ended.reason
    assert override(world, "incident 7, still").champion_version == 1
    assert world.work().state is PromotionState.PROMOTED


def override(world: World, reason: str) -> Promotion:
    """Override version 3 of `wine` as alice."""
    return override_promotion(
        "wine",
        3,
        world.registry,
        world.promotions,
        source="cli",
        cause=f"override:{reason}",
        requested_by="alice",
        reason=reason,
    )
