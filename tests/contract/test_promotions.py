"""The `Promotions` port: one suite for the twin and for PostgreSQL."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from mlflow_ext.domain.promotion import Promotion, PromotionEvent, PromotionState
from mlflow_ext.errors import ConflictError, IllegalTransitionError, NotFoundError, PromotionInProgressError
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.ports import Promotions
from mlflow_ext.store.promotions import SqlPromotions
from mlflow_ext.testing import MemoryPromotions
from mlflow_ext.testing.promotions import PromotionShelf


class Bench:
    """Two workers on one store, and a way to let a lease run out."""

    def __init__(self, worker: Callable[[str], Promotions], expire: Callable[[], None]) -> None:
        self.one = worker("one")
        self.two = worker("two")
        self.expire = expire


@pytest.fixture(params=["twin", "postgresql"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """The same bench on the twin and on the real store."""
    if request.param == "twin":
        clock = [datetime(2026, 11, 1, tzinfo=UTC)]
        shelf = PromotionShelf(now=lambda: clock[0])

        def expire() -> None:
            clock[0] += timedelta(seconds=60)

        yield Bench(lambda name: MemoryPromotions(shelf, owner=name), expire)
        return
    engine: Engine = request.getfixturevalue("engine")

    def run_out() -> None:
        with engine.begin() as connection:
            connection.execute(text("UPDATE mlflow_ext.promotion SET lease_until = lease_until - interval '60 s'"))

    yield Bench(lambda name: SqlPromotions(engine, owner=name), run_out)


def test_the_same_cause_opens_one_promotion(bench: Bench) -> None:
    """Delivering a request a second time gives the promotion that the first delivery opened, whatever its state."""
    first = bench.one.request("wine", 3, source="registry", cause="event:7")
    again = bench.two.request("wine", 3, source="registry", cause="event:7")
    assert (first.id, first.state, first.attempt) == (again.id, PromotionState.REQUESTED, 0)
    bench.one.record(first, PromotionEvent.SUPERSEDE, note="by hand")
    assert bench.one.request("wine", 3, source="registry", cause="event:7").state is PromotionState.SUPERSEDED


def test_a_version_has_one_open_promotion(bench: Bench) -> None:
    """Another cause is refused while a promotion is open, and opens a new one afterwards."""
    first = bench.one.request("wine", 3, source="registry", cause="event:7")
    with pytest.raises(PromotionInProgressError):
        bench.one.request("wine", 3, source="cli", cause="cli:1")
    assert bench.one.request("wine", 4, source="cli", cause="cli:1").id != first.id
    bench.one.record(first, PromotionEvent.FAIL, note="no data")
    assert bench.one.request("wine", 3, source="cli", cause="cli:1", dry_run=True).dry_run


def test_many_deliveries_at_once_have_one_effect(bench: Bench) -> None:
    """A hundred parallel deliveries of one request leave one promotion."""
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: bench.one.request("wine", 3, source="registry", cause="event:7").id, range(100)))
    assert len(set(ids)) == 1
    assert len(bench.one.find("wine")) == 1


def override(worker: Promotions, cause: str, reason: str = "incident 7", champion: int | None = 2) -> Promotion:
    """Override version 3 of `wine` as ann."""
    about = {"source": "cli", "requested_by": "ann", "reason": reason}
    return worker.override("wine", 3, cause=cause, champion=champion, **about)


def test_an_override_opens_what_it_overrides(bench: Bench) -> None:
    """One step: asked for and past the gates, with reason and champion; delivered again nothing changes."""
    done = override(bench.one, "cli:1")
    assert (done.state, done.override_reason, done.champion_version) == (PromotionState.ROLLING_OUT, "incident 7", 2)
    assert done.reason == "past its gates, by ann: incident 7"
    assert [step["event"] for step in bench.one.story(done.id)] == ["requested", "override"]
    assert override(bench.two, "cli:1", "another", 9) == done
    claimed = bench.one.claim()
    assert claimed is not None
    assert (claimed.id, claimed.state) == (done.id, PromotionState.ROLLING_OUT)
    assert override(bench.two, "cli:2", "another", 9).override_reason == "incident 7"


def test_an_override_takes_the_open_promotion_past_its_gates(bench: Bench) -> None:
    """Whoever measures loses its hold, and a waiting person's answer is no longer needed; a dry run stays one."""
    asked = bench.one.request("wine", 3, source="registry", cause="event:7")
    held = bench.one.claim()
    assert held is not None
    done = override(bench.two, "cli:1")
    assert (done.id, done.state, done.attempt) == (asked.id, PromotionState.ROLLING_OUT, 1)
    assert not bench.one.renew(held)
    with pytest.raises(ConflictError):
        bench.one.record(held, PromotionEvent.GATES_FAILED)
    bench.two.record(done, PromotionEvent.ABORT, note="enough")
    bench.one.request("wine", 3, source="cli", cause="cli:2", dry_run=True)
    with pytest.raises(PromotionInProgressError):
        override(bench.one, "cli:3")


def test_overrides_and_claims_at_once_leave_one_promotion_past_its_gates(bench: Bench) -> None:
    """Forty people override while a worker claims: one promotion, one override, no error."""
    bench.one.request("wine", 3, source="registry", cause="event:7")
    with ThreadPoolExecutor(8) as pool:
        claims = [pool.submit(bench.two.claim) for _ in range(4)]
        done = list(pool.map(lambda number: override(bench.one, f"cli:{number}"), range(40)))
    for claim in claims:
        claim.result()
    assert {one.id for one in done} == {bench.one.find("wine")[0].id}
    [found] = bench.one.find("wine")
    assert found.state is PromotionState.ROLLING_OUT
    assert [step["event"] for step in bench.one.story(found.id)].count("override") == 1


def test_a_claim_is_exclusive_until_the_lease_ends(bench: Bench) -> None:
    """Only one worker gets a promotion; after its lease another does, and the first one's writes are refused."""
    opened = bench.one.request("wine", 3, source="registry", cause="event:7")
    mine = bench.one.claim()
    assert mine is not None
    assert (mine.id, mine.state, mine.attempt) == (opened.id, PromotionState.EVALUATING, 1)
    assert bench.two.claim() is None
    assert bench.one.renew(mine)
    bench.expire()
    theirs = bench.two.claim()
    assert theirs is not None
    assert theirs.attempt == 2
    assert not bench.one.renew(mine)
    with pytest.raises(ConflictError):
        bench.one.record(mine, PromotionEvent.GATES_PASSED)
    assert bench.two.record(theirs, PromotionEvent.GATES_PASSED).state is PromotionState.ROLLING_OUT


def test_what_waits_to_be_published_is_claimed_first_and_not_evaluated_again(bench: Bench) -> None:
    """A worker that died after the gates passed leaves a promotion that stays rolling out when it is claimed."""
    bench.one.request("wine", 3, source="registry", cause="event:7")
    mine = bench.one.claim()
    assert mine is not None
    bench.one.record(mine, PromotionEvent.GATES_PASSED, values={"report": {"verdict": "passed"}, "run_id": "r"})
    bench.expire()
    bench.one.request("wine", 4, source="registry", cause="event:8")
    theirs = bench.two.claim()
    assert theirs is not None
    assert (theirs.version, theirs.state, theirs.run_id) == (3, PromotionState.ROLLING_OUT, "r")
    assert theirs.report == {"verdict": "passed"}


def test_an_end_keeps_its_reason_and_frees_the_worker(bench: Bench) -> None:
    """A promotion that ended or waits for a person is not claimed again, and says why."""
    bench.one.request("wine", 3, source="registry", cause="event:7")
    mine = bench.one.claim()
    assert mine is not None
    waiting = bench.one.record(mine, PromotionEvent.APPROVAL_NEEDED, note="no gates")
    assert waiting.reason == "no gates"
    assert bench.two.claim() is None
    assert not bench.one.renew(mine)
    ended = bench.two.record(waiting, PromotionEvent.SUPERSEDE, note="moved by hand")
    assert (ended.state, ended.reason) == (PromotionState.SUPERSEDED, "moved by hand")
    assert bench.one.find("wine", open_only=True) == []


def test_versions_that_may_come_to_production(bench: Bench) -> None:
    """Open promotions name them, the newest first; dry runs, ended ones and other models do not."""
    assert bench.one.open_versions("wine") == []
    opened = [bench.one.request("wine", version, source="cli", cause="1") for version in (7, 2, 5)]
    bench.one.request("wine", 9, source="cli", cause="1", dry_run=True)
    bench.one.request("beer", 1, source="cli", cause="1")
    bench.one.record(opened[1], PromotionEvent.ABORT, note="not yet")
    assert bench.two.claim() is not None
    assert bench.one.open_versions("wine") == [5, 7]


def test_somebody_else_may_end_what_a_worker_holds(bench: Bench) -> None:
    """A person's move ends a promotion under a worker's hands: it cannot renew, and its result is refused."""
    opened = bench.one.request("wine", 3, source="registry", cause="event:7")
    mine = bench.one.claim()
    assert mine is not None
    with pytest.raises(ConflictError):
        bench.two.record(opened, PromotionEvent.SUPERSEDE, note="seen before the claim")
    bench.two.record(bench.two.get(opened.id), PromotionEvent.SUPERSEDE, note="moved by hand")
    assert not bench.one.renew(mine)
    with pytest.raises(ConflictError):
        bench.one.record(mine, PromotionEvent.GATES_PASSED)


def test_a_postponed_promotion_is_free_later_and_says_why_once(bench: Bench) -> None:
    """Letting go hides a promotion for the delay; the same reason again adds no line to the story."""
    opened = bench.one.request("wine", 3, source="registry", cause="event:7")
    for _ in range(3):
        mine = bench.one.claim()
        assert mine is not None
        bench.one.postpone(mine, 30, event="retry", note="MLflow does not answer")
        assert bench.two.claim() is None
        bench.expire()
    told = [step["event"] for step in bench.one.story(opened.id)]
    assert told == ["requested", "claim", "retry", "claim", "claim"]
    again = bench.two.claim()
    assert again is not None
    assert again.attempt == 4
    bench.one.postpone(mine, 0, event="retry", note="late")
    assert bench.one.claim() is None


def test_the_story_has_every_step_in_order(bench: Bench) -> None:
    """Each recorded event is a line with time, state and note."""
    bench.one.request("wine", 3, source="registry", cause="event:7")
    mine = bench.one.claim()
    assert mine is not None
    passed = bench.one.record(mine, PromotionEvent.GATES_PASSED, note="all gates passed")
    bench.one.record(passed, PromotionEvent.PUBLISHED, note="in Production")
    story = bench.one.story(mine.id)
    assert [(step["event"], step["state"]) for step in story] == [
        ("requested", "requested"),
        ("claim", "evaluating"),
        ("gates_passed", "rolling_out"),
        ("published", "promoted"),
    ]
    assert all(step["at"].tzinfo is not None for step in story)


def test_steps_that_make_no_sense_are_refused(bench: Bench) -> None:
    """The state machine's word holds in the store, and only known columns are set."""
    opened = bench.one.request("wine", 3, source="registry", cause="event:7")
    with pytest.raises(IllegalTransitionError):
        bench.one.record(opened, PromotionEvent.PUBLISHED)
    with pytest.raises(TypeError):
        bench.one.record(opened, PromotionEvent.FAIL, values={"model": "other"})
    with pytest.raises(NotFoundError):
        bench.one.get(opened.id + 1_000)


def test_promotions_are_found_newest_first(bench: Bench) -> None:
    """`find` narrows by model and version, newest first, up to the limit."""
    for number in range(1, 4):
        bench.one.request("wine", number, source="registry", cause=f"event:{number}")
    bench.one.request("beer", 1, source="registry", cause="event:9")
    assert [row.version for row in bench.one.find("wine")] == [3, 2, 1]
    assert [row.version for row in bench.one.find("wine", version=2)] == [2]
    assert [row.model for row in bench.one.find(limit=1)] == ["beer"]


def test_a_policy_is_kept_under_its_digest(bench: Bench) -> None:
    """Noting a policy twice is one entry."""
    bench.one.note_policy("wine", ModelPolicy())
    bench.one.note_policy("wine", ModelPolicy())
