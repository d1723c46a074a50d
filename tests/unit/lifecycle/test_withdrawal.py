"""Withdrawing the version in Production: nothing is left there, or the newest approved one comes back."""

from datetime import UTC, datetime, timedelta

import pytest

from mlflow_ext.domain.events import RegistryEvent, RegistryEventKind
from mlflow_ext.domain.promotion import PromotionState
from mlflow_ext.domain.stages import Stage
from mlflow_ext.domain.staging import ROLLED_BACK_TAG
from mlflow_ext.domain.withdrawal import WITHDRAWAL, left_production, too_old
from mlflow_ext.errors import ConflictError, UnavailableError
from mlflow_ext.lifecycle.reconcile import reconcile_pointer
from mlflow_ext.lifecycle.roll_back import roll_back
from mlflow_ext.lifecycle.withdrawal import instead, return_after_withdrawal
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.testing import MemoryRegistry
from tests.unit.lifecycle.world import POLICY, World, with_versions


def governed(**governance: object) -> World:
    """Version 1 in Production by hand, then version 2 by its gates, under a policy that returns."""
    policy = {**POLICY.model_dump(mode="json"), "governance": {"on_withdrawal": "return", **governance}}
    world = with_versions(World(ModelPolicy.model_validate(policy)))
    world.registry.log.clock.advance(100)
    world.registry.set_stage("wine", 2, Stage.STAGING)
    assert world.work().state is PromotionState.PROMOTED
    world.registry.log.clock.advance(100)
    return world


def follow(world: World) -> int | None:
    """What scoring processes do on a notification; gives the version that answers."""

    def back(*seen: object) -> int | None:
        found = instead(*seen, world.promotions, world.policy.governance)  # type: ignore[arg-type]
        return found.version if found is not None and found.within else None

    pointer = reconcile_pointer("wine", world.registry, world.pointers, world.registry.log, back)
    return pointer.version if pointer else None


def look(world: World) -> None:
    """What the worker does then: marks agree, the pointer follows, the registry returns."""
    follow(world)
    world.settle("wine")
    found = return_after_withdrawal(
        "wine",
        world.registry,
        world.registry.log,
        world.promotions,
        lambda: world.registry,
        world.policy.governance,
    )
    if found is not None:
        follow(world)
        world.look()


def withdraw(world: World, how: str, version: int = 2) -> None:
    """Take a version out of Production by one of its marks."""
    world.registry.log.clock.advance(1)
    if how == "stage":
        world.registry.set_stage("wine", version, Stage.ARCHIVED)
    elif how == "alias":
        world.registry.delete_alias("wine", "production")
    else:
        world.registry.set_tags("wine", version, {"stage": "Archived"})


@pytest.mark.parametrize("how", ["stage", "alias", "tag"])
def test_the_newest_approved_version_comes_back(how: str) -> None:
    """Clients are answered by it at once, before any mark follows; then all marks name it, and it stays so."""
    world = governed()
    withdraw(world, how)
    assert follow(world) == 1
    for _ in range(3):
        look(world)
        assert world.stages() == ["Production", "Archived", "None"]
        assert follow(world) == 1
    assert "production" in world.registry.version("wine", 1).aliases
    assert world.registry.version("wine", 2).tags[ROLLED_BACK_TAG] == "withdrawn, back to version 1"
    [promotion] = world.promotions.find("wine")
    assert promotion.state is PromotionState.ROLLED_BACK
    assert promotion.reason == "version 2 was withdrawn from Production; back to version 1"


def test_without_the_policys_word_nothing_is_left_in_production() -> None:
    """The default stays: a withdrawal is a person's decision, and nothing undoes it."""
    world = governed(on_withdrawal="nothing")
    withdraw(world, "stage")
    look(world)
    assert follow(world) is None
    assert world.stages() == ["Archived", "Archived", "None"]


def test_a_second_withdrawal_does_not_return_to_the_first_ones_version() -> None:
    """What was withdrawn is never returned to; when nothing approved is left, nothing is in Production."""
    world = governed()
    withdraw(world, "stage")
    look(world)
    world.registry.log.clock.advance(1)
    withdraw(world, "stage", 1)
    look(world)
    assert follow(world) is None
    assert world.stages() == ["Archived", "Archived", "None"]


def test_with_the_guard_only_a_promotion_is_evidence() -> None:
    """Version 1 came by hand, so it does not come back where the guard enforces; what was promoted does."""
    world = governed(guard="enforce")
    world.evaluator.metrics[3] = {"auc": 0.9}
    world.look()
    world.registry.set_stage("wine", 3, Stage.STAGING)
    assert world.work().state is PromotionState.PROMOTED
    withdraw(world, "stage", 3)
    look(world)
    assert world.stages() == ["Archived", "Production", "Archived"]
    withdraw(world, "stage", 2)
    look(world)
    assert follow(world) is None


@pytest.mark.parametrize(("window_s", "state"), [(150.0, "Production"), (50.0, "Archived")])
def test_outside_the_window_its_gates_are_computed_again(window_s: float, state: str) -> None:
    """Version 1 left Production some hundred seconds ago; outside the window a promotion decides, opened once."""
    world = governed(rollback_window_s=window_s)
    withdraw(world, "stage")
    for _ in range(3):
        look(world)
    assert world.registry.version("wine", 1).stage.value == state
    opened = [one for one in world.promotions.find("wine") if one.source == WITHDRAWAL]
    assert len(opened) == (state == "Archived")
    if opened:
        assert follow(world) is None
        assert world.work().state is PromotionState.PROMOTED
        assert follow(world) == 1


def test_a_person_who_puts_another_version_there_wins() -> None:
    """A move between the look and the return is a person's word, and nothing overrides it."""
    world = governed()
    withdraw(world, "stage")
    world.settle("wine")
    set_tags = world.registry.set_tags

    class Watched(MemoryRegistry):
        """A registry in which a person acts while the worker does."""

        def set_tags(self, model: str, version: int, tags: object) -> None:
            set_tags(model, version, tags)  # type: ignore[arg-type]
            world.registry.set_stage("wine", 3, Stage.PRODUCTION)

    acting = Watched(world.registry.log, world.registry.kept)
    found = return_after_withdrawal(
        "wine", world.registry, world.registry.log, world.promotions, lambda: acting, world.policy.governance
    )
    assert found is None
    look(world)
    assert world.stages() == ["Archived", "Archived", "Production"]
    assert follow(world) == 3


def test_a_worker_that_dies_half_way_is_finished_by_the_next() -> None:
    """The promotion is rolled back, MLflow does not answer: the next look does the rest."""
    world = governed()
    withdraw(world, "stage")
    world.settle("wine")

    def silent() -> MemoryRegistry:
        raise UnavailableError("MLflow does not answer")

    with pytest.raises(UnavailableError):
        return_after_withdrawal(
            "wine", world.registry, world.registry.log, world.promotions, silent, world.policy.governance
        )
    assert world.promotions.find("wine")[0].state is PromotionState.ROLLED_BACK
    look(world)
    assert world.stages() == ["Production", "Archived", "None"]


def test_a_deleted_version_is_withdrawn_too() -> None:
    """MLflow keeps its row under another stage; the newest approved version comes back."""
    world = governed()
    kept = world.registry.kept.pop(("wine", 2))
    world.registry.log.note("wine", 2, RegistryEventKind.STAGE, "", kept.stage.value, "Deleted_Internal")
    look(world)
    assert world.stages() == ["Production", "None"]


@pytest.mark.parametrize(
    ("kind", "key", "old", "new", "left"),
    [
        (RegistryEventKind.STAGE, "", "Production", "Archived", 2),
        (RegistryEventKind.STAGE, "", "Staging", "Production", None),
        (RegistryEventKind.TAG, "stage", "production ", None, 2),
        (RegistryEventKind.TAG, "team", "Production", None, None),
        (RegistryEventKind.ALIAS, "production", "7", "2", 7),
        (RegistryEventKind.ALIAS, "production", None, "2", None),
        (RegistryEventKind.ALIAS, "staging", "7", None, None),
        (RegistryEventKind.VERSION, "", "Production", None, None),
    ],
)
def test_what_takes_a_version_out_of_production(
    kind: RegistryEventKind, key: str, old: str | None, new: str | None, left: int | None
) -> None:
    """Stage, alias and tag of Production; nothing else."""
    at = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(seconds=1)
    assert left_production(RegistryEvent(1, at, "wine", 2, kind, key, old, new)) == left


def test_a_rollback_keeps_to_the_window() -> None:
    """What left Production too long ago needs its gates again, and the message says how; without a window never."""
    world = governed()
    moves, version = world.registry.log.latest("wine"), world.registry.version("wine", 1)
    later = world.registry.log.clock.now() + timedelta(days=2)
    assert too_old(version, moves, None, later) is None
    assert too_old(version, moves, 3 * 86_400, later) is None
    assert "`mlflow-ext promote wine 1`" in (too_old(version, moves, 86_400, later) or "")
    with pytest.raises(ConflictError, match="too old"):
        roll_back(
            *("wine", world.registry, world.promotions, world.pointers, world.registry, world.settle),
            too_old=lambda one: f"version {one.version} is too old",
        )
    assert world.stages() == ["Archived", "Production", "None"]
