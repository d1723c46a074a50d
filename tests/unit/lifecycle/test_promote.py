"""A promotion's whole story on the in-memory twins: every way it can end, and every point at which a worker can die."""

from dataclasses import replace
from typing import Any

import pytest

from mlflow_ext.domain.gates import GateReport, GateResult, Importance, Verdict
from mlflow_ext.domain.pins import FileDigest, Manifest
from mlflow_ext.domain.promotion import PromotionState
from mlflow_ext.domain.stages import Stage
from mlflow_ext.errors import (
    EvaluationCrashedError,
    EvaluationImpossibleError,
    GateRefusedError,
    UnavailableError,
)
from mlflow_ext.lifecycle.promote import GATE_ERROR, MAX_CRASHES
from mlflow_ext.lifecycle.request_promotion import request_promotion
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.testing import MemoryPromotions, MemoryRegistry, MemoryResults, ScriptedEvaluator
from tests.unit.lifecycle.world import POLICY, World, with_versions


def test_a_better_version_goes_to_production(world: World) -> None:
    """Evaluated against the champion, promoted, champion archived, pointer moved, marks in agreement."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    ended = world.work()
    assert (ended.state, ended.champion_version, ended.run_id) == (PromotionState.PROMOTED, 1, f"run-{ended.id}")
    assert ended.policy_hash == POLICY.digest
    assert POLICY.digest in world.shelf.policies
    assert world.evaluator.calls == [(2, 1)]
    assert world.stages() == ["Archived", "Production", "None"]
    pointer = world.pointers.get("wine")
    assert pointer is not None
    assert pointer.version == 2
    assert "production" in world.registry.version("wine", 2).aliases
    assert world.results.written[0][1] == "passed"
    assert world.look() == []


def test_what_passed_the_gates_is_pinned(world: World) -> None:
    """The files that were judged are kept with the step that lets them pass, and only then."""
    files = {n: Manifest.of([FileDigest("MLmodel", n, "ab")]) for n in (2, 3)}
    world.evaluator.manifests.update(files)
    for version in (2, 3):
        world.registry.set_stage("wine", version, Stage.STAGING)
        world.work()
    assert {key: pin.manifest for key, pin in world.shelf.pins.items()} == {("wine", 2): files[2]}


def test_a_version_that_was_edited_after_the_gates_does_not_go_to_production(world: World) -> None:
    """The promotion fails and says why; the champion stays."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.edited.add(2)
    ended = world.work()
    assert ended.state is PromotionState.FAILED
    assert "changed after the gates" in ended.reason
    assert world.stages() == ["Production", "Staging", "None"]


@pytest.mark.parametrize("mark", ["stage", "alias", "tag"])
def test_any_mark_opens_exactly_one_promotion(world: World, mark: str) -> None:
    """Stage, alias or tag: one promotion, also after agreement wrote the other two marks, and after its end."""
    if mark == "stage":
        world.registry.set_stage("wine", 3, Stage.STAGING)
    elif mark == "alias":
        world.registry.set_alias("wine", "staging", 3)
    else:
        world.registry.set_tags("wine", 3, {"stage": "staging"})
    assert len(world.look()) == 1
    assert world.look() == []
    assert world.work().state is PromotionState.REJECTED
    for _ in range(3):
        assert world.look() == []
    assert world.stages() == ["Production", "None", "Staging"]


def test_two_versions_in_staging_do_not_push_each_other_out(world: World) -> None:
    """The alias `staging` names the newest only; losing it ends nobody's promotion."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.look()
    world.registry.set_stage("wine", 3, Stage.STAGING)
    for _ in range(3):
        world.look()
    assert world.stages() == ["Production", "Staging", "Staging"]
    assert [row.version for row in world.promotions.find("wine", open_only=True)] == [3, 2]
    assert [world.work().state, world.work().state] == [PromotionState.PROMOTED, PromotionState.REJECTED]


def test_a_worse_version_is_rejected_with_the_numbers_and_stays_in_staging(world: World) -> None:
    """Nothing moves; the reason has measured value and bound; asking again takes a person's move."""
    world.registry.set_stage("wine", 3, Stage.STAGING)
    ended = world.work()
    assert ended.state is PromotionState.REJECTED
    assert "auc is 0.4 and must be at least 0.6" in ended.reason
    assert world.stages() == ["Production", "None", "Staging"]
    world.registry.set_stage("wine", 3, Stage.NONE)
    assert world.look() == []
    world.registry.set_stage("wine", 3, Stage.STAGING)
    [again] = world.look()
    assert again.id != ended.id


def test_the_first_version_has_no_champion(world: World) -> None:
    """Without Production, changes pass and the threshold decides."""
    world.registry.set_stage("wine", 1, Stage.ARCHIVED)
    world.registry.set_stage("wine", 2, Stage.STAGING)
    ended = world.work()
    assert (ended.state, ended.champion_version) == (PromotionState.PROMOTED, None)


def test_without_gates_a_person_decides() -> None:
    """Nothing is measured, the promotion waits and says what to add; Production by hand ends it."""
    world = with_versions(World(ModelPolicy()))
    world.registry.set_stage("wine", 2, Stage.STAGING)
    waiting = world.work()
    assert waiting.state is PromotionState.AWAITING_APPROVAL
    assert "models.wine.gates" in waiting.reason
    assert world.evaluator.calls == []
    world.registry.set_stage("wine", 2, Stage.PRODUCTION)
    world.look()
    assert world.promotions.get(waiting.id).state is PromotionState.SUPERSEDED
    assert world.stages() == ["Archived", "Production", "None"]


def test_a_dry_run_computes_and_changes_nothing(world: World) -> None:
    """The verdict is recorded, no stage moves, and a later mark opens a real promotion."""
    asked = request_promotion("wine", 2, world.registry, world.promotions, source="cli", cause="cli:1", dry_run=True)
    ended = world.work()
    assert (ended.id, ended.state) == (asked.id, PromotionState.EVALUATED)
    assert ended.report is not None
    assert ended.report["verdict"] == "passed"
    assert world.stages() == ["Production", "None", "None"]
    world.registry.set_stage("wine", 2, Stage.STAGING)
    assert world.work().state is PromotionState.PROMOTED


@pytest.mark.parametrize("stage", [Stage.NONE, Stage.ARCHIVED, Stage.PRODUCTION])
def test_a_persons_hand_during_the_evaluation_wins(world: World, stage: Stage) -> None:
    """Whatever the gates say afterwards, the promotion is superseded and the person's move stays."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.look()
    world.evaluator.meanwhile = lambda: world.registry.set_stage("wine", 2, stage)
    ended = world.work()
    assert ended.state is PromotionState.SUPERSEDED
    assert world.registry.version("wine", 2).stage is stage
    assert world.results.written == []


def test_a_champion_that_changes_meanwhile_is_compared_with(world: World) -> None:
    """A comparison with a version that is no longer in Production decides nothing; it is made again."""
    world.evaluator.metrics[3] = {"auc": 0.9}
    world.registry.set_stage("wine", 2, Stage.STAGING)

    def somebody() -> None:
        world.evaluator.meanwhile = lambda: None
        world.registry.set_stage("wine", 3, Stage.PRODUCTION)

    world.evaluator.meanwhile = somebody
    ended = world.work()
    assert world.evaluator.calls == [(2, 1), (2, 3)]
    assert (ended.state, ended.champion_version) == (PromotionState.REJECTED, 3)


def test_mlflow_away_is_waited_for(world: World) -> None:
    """The promotion stays open, says why once, and goes on when MLflow is back."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.evaluator.faults = [UnavailableError("MLflow does not answer"), UnavailableError("MLflow does not answer")]
    assert world.work().state is PromotionState.EVALUATING
    assert world.promotions.claim() is None
    world.killed()
    assert world.work().state is PromotionState.EVALUATING
    world.killed()
    world.results.faults = [UnavailableError("MLflow does not answer")]
    assert world.work().state is PromotionState.EVALUATING
    world.killed()
    ended = world.work()
    assert ended.state is PromotionState.PROMOTED
    assert [step["event"] for step in world.promotions.story(ended.id)].count("retry") == 1


def test_what_cannot_pass_fails_with_the_reason(world: World) -> None:
    """No evaluation data, an unsafe model: failed at once, shown at the version, nothing flipped."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.evaluator.faults = [EvaluationImpossibleError("no evaluation data; log it")]
    ended = world.work()
    assert (ended.state, ended.reason) == (PromotionState.FAILED, "no evaluation data; log it")
    assert world.results.written[0][1] == "error"
    assert world.stages() == ["Production", "Staging", "None"]
    assert world.look() == []


def test_a_missing_metric_fails_and_lists_the_names(world: World) -> None:
    """A mistake in the policy is no failure of the model; the reason says what to choose from."""
    world.evaluator.metrics[2] = {"f1_score": 0.7}
    world.registry.set_stage("wine", 2, Stage.STAGING)
    ended = world.work()
    assert ended.state is PromotionState.FAILED
    assert "available metrics: f1_score" in ended.reason


def erred(*, may_pass: bool, importance: Importance = Importance.CRITICAL) -> GateReport:
    """What a policy with a hook gives when the hook does not answer."""
    good = GateResult("metric", "auc ≥ 0.5", Verdict.PASSED, "auc is 0.7")
    hook = GateResult("external", "hook", Verdict.ERROR, "the hook answered 503", importance=importance)
    return GateReport((good, replace(hook, may_pass=may_pass)), champion_version=1)


def test_a_gates_error_that_may_pass_is_no_failure_and_is_asked_again(world: World) -> None:
    """Each try is a line of the story; when the hook answers, the verdict counts as if nothing had happened."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.evaluator.reports = [erred(may_pass=True), erred(may_pass=True)]
    assert world.work().state is PromotionState.EVALUATING
    assert world.promotions.claim() is None, "it is asked again later, not at once"
    world.killed()
    assert world.work().state is PromotionState.EVALUATING
    world.killed()
    ended = world.work()
    assert ended.state is PromotionState.PROMOTED
    notes = [step["note"] for step in world.promotions.story(ended.id) if step["event"] == GATE_ERROR]
    assert [note.partition("(")[2] for note in notes] == [
        "the gates are asked again in 5 s, 1 of 3)",
        "the gates are asked again in 10 s, 2 of 3)",
    ]
    assert all("the hook answered 503" in note for note in notes)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_gates_error_fails_the_promotion_once_it_was_asked_often_enough(retries: int) -> None:
    """Never rejected, never promoted: failed, with the gate's reason, and nothing in the registry moved."""
    gates = POLICY.model_dump(mode="json")["gates"]
    world = with_versions(World(ModelPolicy.model_validate({"gates": gates, "evaluation": {"retries": retries}})))
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.evaluator.reports = [erred(may_pass=True)] * 9
    for _ in range(retries):
        assert world.work().state is PromotionState.EVALUATING
        world.killed()
    ended = world.work()
    assert (ended.state, "the hook answered 503" in ended.reason) == (PromotionState.FAILED, True)
    assert ("(asked 3 times)" in ended.reason) is (retries == 2)
    assert world.stages() == ["Production", "Staging", "None"]
    assert world.results.written[-1][1] == "error"


@pytest.mark.parametrize(
    ("report", "state"),
    [
        (erred(may_pass=False), PromotionState.FAILED),
        (erred(may_pass=True, importance=Importance.ADVISORY), PromotionState.PROMOTED),
    ],
)
def test_what_cannot_pass_or_decides_nothing_is_not_asked_again(
    world: World, report: GateReport, state: PromotionState
) -> None:
    """A wrong address fails at once; an advisory hook that is away keeps nobody waiting."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.evaluator.reports = [report]
    ended = world.work()
    assert ended.state is state
    assert GATE_ERROR not in [step["event"] for step in world.promotions.story(ended.id)]


def test_a_dry_run_asks_again_too(world: World) -> None:
    """Its verdict is of as much use as that of a promotion."""
    request_promotion("wine", 2, world.registry, world.promotions, source="cli", cause="cli:1", dry_run=True)
    world.evaluator.reports = [erred(may_pass=True)]
    assert world.work().state is PromotionState.EVALUATING
    world.killed()
    assert world.work().state is PromotionState.EVALUATED


@pytest.mark.parametrize("fault", [EvaluationCrashedError("signal 9"), ZeroDivisionError("a bug")])
def test_crashes_are_tried_again_but_not_for_ever(world: World, fault: Exception) -> None:
    """A dying evaluation, or a fault of ours, is counted; after some tries the promotion has failed."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.evaluator.faults = [fault] * (MAX_CRASHES + 1)
    for _ in range(MAX_CRASHES):
        assert world.work().state is PromotionState.EVALUATING
        world.killed()
    ended = world.work()
    assert ended.state is PromotionState.FAILED
    assert f"tried {MAX_CRASHES} times" in ended.reason


def test_the_guards_refusal_fails_the_promotion_with_its_words(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's server refused the flip: failed with the server's reason, not retried."""

    def refuse(*_: Any) -> None:
        raise GateRefusedError("not without two approvals")

    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.look()
    monkeypatch.setattr(MemoryRegistry, "set_stage", refuse)
    ended = world.work()
    assert (ended.state, ended.reason) == (PromotionState.FAILED, "not without two approvals")


POINTS = ["note_policy", "evaluate", "write", "record", "flip", "settle", "last record"]


class Killed(BaseException):
    """Stands for kill -9: nothing in the product catches it."""


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("after", [False, True])
def test_death_at_any_point_ends_as_if_nothing_had_happened(
    world: World, monkeypatch: pytest.MonkeyPatch, point: str, *, after: bool
) -> None:
    """A worker that dies before or after any step leaves a promotion that the next one ends, once."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.look()
    targets: dict[str, tuple[Any, str, int]] = {
        "note_policy": (MemoryPromotions, "note_policy", 1),
        "evaluate": (ScriptedEvaluator, "evaluate", 1),
        "write": (MemoryResults, "write", 1),
        "record": (MemoryPromotions, "record", 1),
        "flip": (MemoryRegistry, "set_stage", 1),
        "settle": (World, "settle", 2),  # the first is the look before the claim
        "last record": (MemoryPromotions, "record", 2),
    }
    owner, name, nth = targets[point]
    original = getattr(owner, name)
    calls = 0

    def dying(*args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and not after:
            raise Killed
        result = original(*args, **named)
        if calls == nth:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(Killed):
            world.work()
    world.killed()
    world.look()
    claimed = world.promotions.claim()
    if claimed is not None:
        world.promoter().advance(claimed, lambda: False)
    [only] = world.promotions.find("wine")
    assert only.state is PromotionState.PROMOTED
    assert world.stages() == ["Archived", "Production", "None"]
    assert [step["event"] for step in world.promotions.story(only.id)].count("published") == 1
    assert world.look() == []


def test_a_late_worker_changes_nothing(world: World) -> None:
    """Stopped while it evaluated, woken after another worker took over: its result is refused."""
    world.registry.set_stage("wine", 3, Stage.STAGING)
    world.look()
    late = world.promotions
    claimed = late.claim()
    assert claimed is not None
    promoter = world.promoter()
    world.evaluator.metrics[3] = {"auc": 0.9}

    def taken_over() -> None:
        world.evaluator.meanwhile = lambda: None
        world.evaluator.metrics[3] = {"auc": 0.4}
        world.killed()
        assert world.work().state is PromotionState.REJECTED
        world.evaluator.metrics[3] = {"auc": 0.9}

    world.evaluator.meanwhile = taken_over
    assert promoter.advance(claimed, lambda: False).state is PromotionState.REJECTED
    assert world.stages() == ["Production", "None", "Staging"]


def test_a_cancelled_evaluation_leaves_the_promotion_open(world: World) -> None:
    """A worker that is told to stop lets go; the next one starts afresh."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    assert world.work(lambda: True).state is PromotionState.EVALUATING
    world.killed()
    assert world.work().state is PromotionState.PROMOTED


def test_a_deleted_version_ends_its_promotion(world: World) -> None:
    """There is nothing left to promote."""
    world.registry.set_stage("wine", 2, Stage.STAGING)
    world.look()
    del world.registry.kept["wine", 2]
    world.look()
    [ended] = world.promotions.find("wine")
    assert (ended.state, "deleted" in ended.reason) == (PromotionState.SUPERSEDED, True)
