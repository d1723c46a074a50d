"""A person who moves another version to Production after the verdict: their word is later, and the promotion yields."""

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine, create_engine, text

from mlflow_ext.domain.promotion import Promotion, PromotionEvent, PromotionState
from mlflow_ext.domain.stages import STAGE_TAG, ModelVersion, Stage
from mlflow_ext.lifecycle.promote import Promoter
from mlflow_ext.lifecycle.reconcile import agree_marks, reconcile_pointer
from mlflow_ext.lifecycle.request_promotion import override_promotion
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.registry.client import MlflowRegistry, connect
from mlflow_ext.registry.results import MlflowResults
from mlflow_ext.store.events import SqlEventLog
from mlflow_ext.store.pointers import SqlPointers
from mlflow_ext.store.promotions import SqlPromotions
from mlflow_ext.store.registry_view import SqlRegistryView
from mlflow_ext.testing import ScriptedEvaluator

pytestmark = pytest.mark.filterwarnings("ignore:.*stages.*:FutureWarning")
OWNER = "the worker"


@dataclass
class Scene:
    """One model: version 1 in Production, version 2 judged against it and rolling out, version 3 a person's choice."""

    engine: Engine
    client: MlflowClient
    model: str

    def __post_init__(self) -> None:
        self.view, self.events = SqlRegistryView(self.engine), SqlEventLog(self.engine)
        self.pointers, self.registry = SqlPointers(self.engine), MlflowRegistry(self.client)
        self.promotions = SqlPromotions(self.engine, owner=OWNER)
        self.client.create_registered_model(self.model)
        for _ in range(3):
            self.client.create_model_version(self.model, "s3://bucket/model")
        self.registry.set_stage(self.model, 1, Stage.PRODUCTION)
        self.settle(self.model)

    def settle(self, model: str) -> None:
        """Bring marks and pointer along."""
        agree_marks(model, self.view, self.events, self.pointers, self.registry)
        reconcile_pointer(model, self.view, self.pointers, self.events)

    def judged(self, champion: int | None = 1, version: int = 2) -> Promotion:
        """Give a version's promotion right after its verdict, held by the worker."""
        asked = self.promotions.request(self.model, version, source="cli", cause=uuid.uuid4().hex)
        held = self.claimed(asked, PromotionState.EVALUATING)
        values = {"champion_version": champion, "report": {"results": [], "champion_version": champion}}
        return self.promotions.record(held, PromotionEvent.GATES_PASSED, note="passed", values=values)

    def overridden(self) -> Promotion:
        """Give version 2's promotion after somebody has overridden its gates, held by the worker."""
        about = (self.model, 2, self.view, self.promotions)
        cause = uuid.uuid4().hex
        asked = override_promotion(*about, source="cli", cause=cause, requested_by="ann", reason="incident 7")
        return self.claimed(asked, PromotionState.ROLLING_OUT)

    def claimed(self, promotion: Promotion, state: PromotionState) -> Promotion:
        """Claim this very promotion: others of the shared database are none of ours."""
        claim = text(
            "UPDATE mlflow_ext.promotion SET state = :state, attempt = attempt + 1, lease_owner = :owner, "
            "lease_until = clock_timestamp() + interval '10 min' WHERE id = :id"
        )
        with self.engine.begin() as connection:
            connection.execute(claim, {"state": state, "owner": OWNER, "id": promotion.id})
        return self.promotions.get(promotion.id)

    def choose(self, mark: str, version: int = 3) -> None:
        """Move a version to Production as a person does, by one of its marks."""
        if mark == "stage":
            self.client.transition_model_version_stage(self.model, str(version), "Production", True)
        elif mark == "alias":
            self.client.set_registered_model_alias(self.model, "production", str(version))
        else:
            self.client.set_model_version_tag(self.model, str(version), STAGE_TAG, "production")

    def publish(self, promotion: Promotion, meanwhile: Callable[[], None] = lambda: None) -> Promotion:
        """Let the worker bring it to its end; `meanwhile` happens after its looks, right before MLflow is called."""

        def verify(_: ModelVersion) -> None:
            meanwhile()

        promoter = Promoter(
            view=self.view,
            events=self.events,
            registry=self.registry,
            promotions=self.promotions,
            evaluator=ScriptedEvaluator(),
            results=MlflowResults(self.client),
            policy=lambda _: ModelPolicy(),
            flipped=self.settle,
            verify=verify,
        )
        ended = promoter.advance(promotion, lambda: False)
        self.settle(self.model)
        return ended

    def production(self) -> list[int]:
        """Name the versions with any mark of Production, and what is served."""
        pointer = self.pointers.get(self.model)
        marked = [one.version for one in self.view.versions(self.model) if one.stage is Stage.PRODUCTION]
        marked += [one.version for one in self.view.versions(self.model) if "production" in one.aliases]
        return [*marked, *([pointer.version] if pointer and pointer.version else [])]

    def arrivals(self) -> list[int]:
        """Which versions people and promotions brought to Production, oldest first."""
        moves = [one for one in reversed(self.events.latest(self.model)) if not one.ours]
        arrived = (one for one in moves if _arrives(one.new))
        return [int(one.new or 0) if one.key == "production" else one.version or 0 for one in arrived]


def _arrives(new: str | None) -> bool:
    return new is not None and (new.isdecimal() or new.lower() == "production")


@pytest.fixture(scope="module")
def server_engine(mlflow_database_url: str) -> Iterator[Engine]:
    """The database of the shared server."""
    engine = create_engine(mlflow_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def scene(server_engine: Engine, mlflow_url: str) -> Scene:
    """A model of this test's own."""
    return Scene(server_engine, connect(mlflow_url), f"outranked-{uuid.uuid4().hex[:8]}")


@pytest.mark.parametrize("mark", ["stage", "alias", "tag"])
@pytest.mark.parametrize("late", [False, True], ids=["before the worker looks", "after the worker has looked"])
def test_a_person_who_chooses_another_version_after_the_verdict_wins(scene: Scene, mark: str, *, late: bool) -> None:
    """By every mark, and at the last moment too, which only MLflow's transaction sees: superseded, with a way on."""
    promotion = scene.judged()
    if not late:
        scene.choose(mark)
    ended = scene.publish(promotion, (lambda: scene.choose(mark)) if late else lambda: None)
    assert ended.state is PromotionState.SUPERSEDED
    assert ended.reason == (
        "version 3 went to Production after version 2 was judged, against version 1: that comparison says nothing any "
        f"more; `mlflow-ext promote {scene.model} 2` compares anew"
    )
    assert scene.production() == [3, 3, 3]
    assert 2 not in scene.arrivals()
    version = scene.client.get_model_version(scene.model, "2")
    assert "went to Production after version 2 was judged" in version.description


def test_of_two_promotions_judged_at_once_the_later_one_is_judged_again(scene: Scene) -> None:
    """Both were compared with version 1; the second one is compared with the first one's version, and loses nothing."""
    first, second = scene.judged(version=3), scene.judged()
    assert scene.publish(first).state is PromotionState.PROMOTED
    again = scene.publish(second)
    assert (again.state, again.reason) == (PromotionState.REQUESTED, "")
    story = [step["note"] for step in scene.promotions.story(again.id) if step["event"] == "compare_anew"]
    assert story == [f"version 3 was first, by promotion {first.id}: the gates compare with that one now"]
    ended = scene.publish(scene.claimed(again, PromotionState.EVALUATING))
    assert (ended.state, ended.champion_version) == (PromotionState.AWAITING_APPROVAL, 3)
    assert scene.production() == [3, 3, 3]


def test_while_the_first_one_is_still_on_its_way_the_second_one_waits(scene: Scene) -> None:
    """Version 3 is in Production, and its promotion has not written so yet: nobody knows who brought it there."""
    first, second = scene.judged(version=3), scene.judged()
    scene.choose("stage", 3)
    waits = scene.publish(second)
    assert waits.state is PromotionState.ROLLING_OUT
    assert scene.promotions.story(waits.id)[-1]["note"] == f"waits for the end of promotion {first.id} of version 3"
    scene.promotions.record(first, PromotionEvent.SUPERSEDE, note="by hand")
    assert scene.publish(scene.claimed(waits, PromotionState.ROLLING_OUT)).state is PromotionState.SUPERSEDED


def test_after_a_persons_override_it_is_not_judged_again(scene: Scene) -> None:
    """The first one went past its gates by a person's word: theirs is the later one."""
    second = scene.judged(version=3)
    assert scene.publish(scene.overridden()).state is PromotionState.PROMOTED
    assert scene.publish(second).state is PromotionState.SUPERSEDED
    assert scene.production() == [2, 2, 2]


def test_agreement_of_the_champions_own_marks_disturbs_nothing(scene: Scene) -> None:
    """The champion's alias and tag that follow late, its marks set again, a move to and fro: the promotion goes on."""
    scene.choose("stage", 3)
    promotion = scene.judged(champion=3)  # alias and tag still name version 1
    ended = scene.publish(promotion, lambda: scene.choose("alias", 3))
    assert (ended.state, scene.production()) == (PromotionState.PROMOTED, [2, 2, 2])


def test_a_withdrawn_choice_disturbs_nothing(scene: Scene) -> None:
    """Version 3 came and went again, nothing is in Production: nobody's choice is undone."""
    promotion = scene.judged()
    scene.choose("stage")
    scene.client.transition_model_version_stage(scene.model, "3", "Archived")
    scene.settle(scene.model)
    assert scene.publish(promotion).state is PromotionState.PROMOTED
    assert scene.production() == [2, 2, 2]


def test_of_an_override_and_a_choice_the_later_one_counts(scene: Scene) -> None:
    """Overridden after version 3 came: it goes on. Before: it yields, and says how to say it again."""
    scene.choose("stage")
    assert scene.publish(scene.overridden()).state is PromotionState.PROMOTED
    scene.choose("stage", 1)
    scene.settle(scene.model)
    ended = scene.publish(scene.overridden(), lambda: scene.choose("alias"))
    assert ended.state is PromotionState.SUPERSEDED
    assert "version 3 went to Production after the override was asked for" in ended.reason
    assert f"`mlflow-ext promote {scene.model} 2 --override" in ended.reason
    assert scene.production() == [3, 3, 3]


def test_a_person_and_a_promotion_race_and_the_person_wins(scene: Scene) -> None:
    """Every mark, at whatever moment: version 3 is in Production in the end, alone, and the trail's order says why."""
    race(scene, 9)


@pytest.mark.slow
def test_300_races_of_a_person_and_a_promotion(scene: Scene) -> None:
    """Many more of them, each mark a hundred times."""
    race(scene, 300)


def race(scene: Scene, times: int) -> None:
    """Let a person choose version 3 while the promotion of version 2 is published, again and again."""
    ends = []
    for number in range(times):
        mark = ("stage", "alias", "tag")[number % 3]
        one = replace(scene, model=f"{scene.model}-{number}")
        promotion, start = one.judged(), threading.Barrier(2)

        def choose(one: Scene = one, mark: str = mark, start: threading.Barrier = start) -> None:
            start.wait(60)
            one.choose(mark)

        person = threading.Thread(target=choose)
        person.start()
        # the worker gets ahead in one race of two: it has looked already when the person begins
        ahead = number % 2 == 0
        if not ahead:
            start.wait(60)
        ended = one.publish(promotion, (lambda start=start: start.wait(60)) if ahead else lambda: None)
        person.join(60)
        one.settle(one.model)
        assert one.production() == [3, 3, 3], (number, mark, ended.reason)
        arrived = one.arrivals()
        if ended.state is PromotionState.SUPERSEDED:
            assert 2 not in arrived, (number, mark, arrived)
        else:
            # the promotion was first, and the person came later; it may have been ended for that
            assert (ended.state, arrived.index(2) < arrived.index(3)) == (PromotionState.PROMOTED, True), (number, mark)
        ends.append(ended.state)
    print(f"{times} races: {ends.count(PromotionState.SUPERSEDED)} superseded, the others published first")
