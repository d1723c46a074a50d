"""The `Approvals` port: one suite for the twin and for PostgreSQL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from sqlalchemy import Engine

from mlflow_ext.domain.gates import GateReport, GateResult, Verdict
from mlflow_ext.domain.promotion import Promotion, PromotionEvent, PromotionState
from mlflow_ext.errors import ConflictError, GateRefusedError, IllegalTransitionError
from mlflow_ext.ports import Approvals, Promotions
from mlflow_ext.store.approvals import SqlApprovals
from mlflow_ext.store.audit import SqlAudit
from mlflow_ext.store.promotions import SqlPromotions
from mlflow_ext.testing import MemoryApprovals, MemoryPromotions


@dataclass
class Bench:
    """Approvals and the promotions that wait for them."""

    approvals: Approvals
    promotions: Promotions
    engine: Engine | None = None

    def waiting(self, version: int = 3, *, people: int = 1, four_eyes: bool = False) -> Promotion:
        """Open a promotion, asked for by alice, and let the gates ask for people."""
        self.promotions.request("wine", version, source="cli", cause=f"c{version}", requested_by="cli:alice@host")
        claimed = self.promotions.claim()
        assert claimed is not None
        asked = GateResult("approval", "", Verdict.INCONCLUSIVE, "", details={"people": people, "four_eyes": four_eyes})
        values = {"report": GateReport((asked,)).as_dict()}
        return self.promotions.record(claimed, PromotionEvent.APPROVAL_NEEDED, note="it waits", values=values)


@pytest.fixture(params=["twin", "postgresql"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """The same bench on the twins and on the real store."""
    if request.param == "twin":
        promotions = MemoryPromotions()
        return Bench(MemoryApprovals(promotions.shelf), promotions)
    engine = request.getfixturevalue("engine")
    return Bench(SqlApprovals(engine), SqlPromotions(engine, owner="one"), engine)


def test_one_word_lets_it_go_on(bench: Bench) -> None:
    """The promotion rolls out with who agreed as its reason, and any worker may take it at once."""
    after = bench.approvals.give(bench.waiting(), "cli:bob@host", "fine")
    assert (after.state, after.reason) == (PromotionState.ROLLING_OUT, "approved by bob (fine)")
    claimed = bench.promotions.claim()
    assert claimed is not None
    assert claimed.id == after.id
    [word] = bench.approvals.of(after.id)
    assert (word.person, word.actor, word.comment) == ("bob", "cli:bob@host", "fine")
    assert word.at is not None


def test_two_people_are_two_people(bench: Bench) -> None:
    """The same person by another way is not counted again and changes nothing."""
    waiting = bench.waiting(people=2)
    one = bench.approvals.give(waiting, "cli:bob@host", "")
    assert (one.state, one.reason) == (PromotionState.AWAITING_APPROVAL, "it waits")
    assert bench.approvals.give(one, "rest:Bob", "again").state is PromotionState.AWAITING_APPROVAL
    two = bench.approvals.give(one, "rest:eve", "")
    assert (two.state, two.reason) == (PromotionState.ROLLING_OUT, "approved by bob, eve")
    assert bench.approvals.give(two, "rest:eve", "").state is PromotionState.ROLLING_OUT
    events = [step["event"] for step in bench.promotions.story(waiting.id)]
    assert events == ["requested", "claim", "approval_needed", "agreed", "approved"]


def test_four_eyes_keep_out_who_asked(bench: Bench) -> None:
    """Whoever asked for the promotion cannot approve it; nothing is written down for a refused word."""
    waiting = bench.waiting(four_eyes=True)
    with pytest.raises(GateRefusedError, match="somebody else"):
        bench.approvals.give(waiting, "rest:alice", "")
    assert bench.approvals.of(waiting.id) == []
    assert bench.approvals.give(waiting, "rest:bob", "").state is PromotionState.ROLLING_OUT


def test_only_what_waits_can_be_approved(bench: Bench) -> None:
    """Before its gates, or after its end, a promotion takes no words."""
    waiting = bench.waiting()
    early = bench.promotions.request("wine", 9, source="cli", cause="early")
    with pytest.raises(IllegalTransitionError):
        bench.approvals.give(early, "bob", "")
    bench.promotions.record(waiting, PromotionEvent.REFUSED, note="no")
    with pytest.raises(ConflictError):
        bench.approvals.give(waiting, "bob", "")


@pytest.mark.parametrize("people", [1, 2])
def test_a_hundred_words_at_once_have_one_effect(bench: Bench, people: int) -> None:
    """A hundred deliveries by as many people as are needed: each is counted once, one step lets the promotion go on."""
    waiting = bench.waiting(people=people)

    def give(number: int) -> PromotionState:
        return bench.approvals.give(waiting, f"rest:p{number % people}", "").state

    with ThreadPoolExecutor(8) as pool:
        states = list(pool.map(give, range(100)))
    assert set(states) <= {PromotionState.AWAITING_APPROVAL, PromotionState.ROLLING_OUT}
    events = [step["event"] for step in bench.promotions.story(waiting.id)]
    assert events[3:] == ["agreed"] * (people - 1) + ["approved"]


def test_each_word_is_in_the_audit_trail(engine: Engine, bench_of: Callable[[Engine], Bench]) -> None:
    """One entry a word, in its own transaction, with who and what they said."""
    bench = bench_of(engine)
    waiting = bench.waiting(people=2)
    for actor in ("rest:bob", "rest:eve"):
        bench.approvals.give(waiting, actor, "fine")
    told = [entry for entry in SqlAudit(engine).entries("wine") if entry.promotion_id == waiting.id][-2:]
    assert [(entry.action, entry.after) for entry in told] == [
        ("promotion:agreed", "awaiting_approval"),
        ("promotion:approved", "rolling_out"),
    ]
    assert all('"comment": "fine"' in entry.details for entry in told)


@pytest.fixture
def bench_of() -> Callable[[Engine], Bench]:
    """The bench on a database."""
    return lambda engine: Bench(SqlApprovals(engine), SqlPromotions(engine, owner="one"), engine)
