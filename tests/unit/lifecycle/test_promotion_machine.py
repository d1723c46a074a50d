"""Promotions under any sequence of steps by workers, people and lost leases: what must hold at every moment."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mlflow_ext.domain.gates import GateReport, GateResult, Verdict
from mlflow_ext.domain.promotion import Promotion, PromotionEvent, PromotionState, conclusion
from mlflow_ext.errors import ConflictError, GateRefusedError
from mlflow_ext.testing import MemoryApprovals, MemoryPromotions
from mlflow_ext.testing.promotions import PromotionShelf

WORKERS = ("one", "two")
JUDGED = {PromotionEvent.GATES_PASSED, PromotionEvent.APPROVED, PromotionEvent.AGREED, PromotionEvent.CLAIM}
"""Steps that only their own rules take."""
PEOPLE = ("cli:alice@host", "rest:bob", "eve", "robot:promotion-worker")


class Promotions(RuleBasedStateMachine):
    """Two workers and four callers on one store; each rule is something that can happen at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 11, 1, tzinfo=UTC)
        self.shelf = PromotionShelf(now=lambda: self.now)
        self.workers = {name: MemoryPromotions(self.shelf, owner=name) for name in WORKERS}
        self.approvals = MemoryApprovals(self.shelf)
        self.ended: dict[int, PromotionState] = {}
        self.effects: dict[tuple[int, int], int] = {}
        self.read: list[Promotion] = []

    @initialize(people=st.integers(1, 2), four_eyes=st.booleans(), waits=st.booleans())
    def one_is_there(self, people: int, four_eyes: bool, waits: bool) -> None:
        """Begin with a promotion that waits for people, or rolls out."""
        self.request(1, 1, False)
        self.claim("one")
        self.judge("one", 0, Verdict.INCONCLUSIVE if waits else Verdict.PASSED, people, four_eyes)

    @rule(version=st.integers(1, 2), cause=st.integers(1, 9), dry_run=st.sampled_from([False, False, False, True]))
    def request(self, version: int, cause: int, dry_run: bool) -> None:
        """Ask; the same cause gives the same promotion."""
        try:
            made = self.workers["one"].request("wine", version, source="cli", cause=str(cause), dry_run=dry_run)
        except ConflictError:
            return
        assert self.effects.setdefault((version, cause), made.id) == made.id
        self.read.append(made)

    @rule(worker=st.sampled_from(WORKERS))
    def claim(self, worker: str) -> None:
        """Take work."""
        claimed = self.workers[worker].claim()
        self.read += [claimed] if claimed is not None else []

    @rule()
    def leases_run_out(self) -> None:
        """A worker was silent for too long."""
        self.now += timedelta(seconds=31)

    @precondition(lambda self: self.in_state(PromotionState.EVALUATING))
    @rule(
        worker=st.sampled_from(WORKERS),
        pick=st.integers(0, 9),
        verdict=st.sampled_from(Verdict),
        people=st.integers(1, 2),
        four_eyes=st.booleans(),
    )
    def judge(self, worker: str, pick: int, verdict: Verdict, people: int, four_eyes: bool) -> None:
        """Write down what the gates said."""
        read = self._pick(PromotionState.EVALUATING, pick)
        asked = GateResult("approval", "", verdict, "", details={"people": people, "four_eyes": four_eyes})
        event = conclusion(verdict, dry_run=read.dry_run)
        self._record(worker, read, event, {"report": GateReport((asked,)).as_dict()})

    @precondition(lambda self: self.in_state(PromotionState.AWAITING_APPROVAL))
    @rule(pick=st.integers(0, 9), actor=st.sampled_from(PEOPLE))
    def approve(self, pick: int, actor: str) -> None:
        """Give a word."""
        with suppress(GateRefusedError):
            self.read.append(self.approvals.give(self._pick(PromotionState.AWAITING_APPROVAL, pick), actor, ""))

    @precondition(lambda self: self.in_state(PromotionState.ROLLING_OUT))
    @rule(worker=st.sampled_from(WORKERS), pick=st.integers(0, 9))
    def publish(self, worker: str, pick: int) -> None:
        """The version is in Production."""
        self._record(worker, self._pick(PromotionState.ROLLING_OUT, pick), PromotionEvent.PUBLISHED)

    @precondition(lambda self: self.read)
    @rule(
        worker=st.sampled_from(WORKERS),
        pick=st.integers(0, 99),
        event=st.sampled_from(sorted(set(PromotionEvent) - JUDGED)),
        now=st.booleans(),
    )
    def anything(self, worker: str, pick: int, event: PromotionEvent, now: bool) -> None:
        """Any other step, from the state as it is, or as somebody read it some time ago."""
        read = self.read[pick % len(self.read)]
        read = self.shelf.rows[read.id] if now else read
        values = {"override_reason": "incident"} if event is PromotionEvent.OVERRIDE else None
        self._record(worker, read, event, values)

    @precondition(lambda self: self.read)
    @rule(pick=st.integers(0, 99), actor=st.sampled_from(PEOPLE))
    def approve_anything(self, pick: int, actor: str) -> None:
        """A word on whatever there is: before its gates, after its end, read long ago."""
        with suppress(ConflictError, GateRefusedError):
            self.approvals.give(self.read[pick % len(self.read)], actor, "")

    def in_state(self, state: PromotionState) -> list[Promotion]:
        """Promotions in a state."""
        return [row for row in self.shelf.rows.values() if row.state is state]

    def _pick(self, state: PromotionState, pick: int) -> Promotion:
        found = self.in_state(state)
        return found[pick % len(found)]

    def _record(
        self, worker: str, read: Promotion, event: PromotionEvent, values: dict[str, object] | None = None
    ) -> None:
        with suppress(ConflictError):
            self.read.append(self.workers[worker].record(read, event, values=values))

    @invariant()
    def one_open_promotion_a_version(self) -> None:
        """Never two."""
        is_open = [row.version for row in self.shelf.rows.values() if row.state.is_open]
        assert len(is_open) == len(set(is_open))

    @invariant()
    def nothing_is_promoted_past_evaluating_but_by_an_override(self) -> None:
        """The story of whatever rolls out or was promoted has gates that passed, people who agreed, or an override."""
        reached = {PromotionState.ROLLING_OUT, PromotionState.PROMOTED, PromotionState.ROLLED_BACK}
        for row in self.shelf.rows.values():
            if row.state not in reached:
                continue
            told = [step["event"] for step in self.shelf.stories[row.id]]
            anew = max((place for place, event in enumerate(told) if event == "compare_anew"), default=-1)
            told = told[anew + 1 :]
            let_go = {"gates_passed", "approved", "override"} & set(told)
            assert let_go, told
            if let_go != {"override"}:
                assert "claim" in told[: min(told.index(event) for event in let_go)]
            assert not (row.dry_run and let_go != {"override"})

    @invariant()
    def enough_people_agreed(self) -> None:
        """What was approved has as many different people as its report asks for."""
        for row in self.shelf.rows.values():
            events = [step["event"] for step in self.shelf.stories[row.id]]
            given = self.approvals.of(row.id)
            assert len({one.person for one in given}) == len(given)
            if "approved" in events and row.report:
                assert len(given) >= row.report["results"][0]["details"]["people"]

    @invariant()
    def what_has_ended_stays(self) -> None:
        """But a promoted one can be rolled back, once."""
        for row in self.shelf.rows.values():
            before = self.ended.get(row.id, row.state)
            assert row.state is before or (before, row.state) == (PromotionState.PROMOTED, PromotionState.ROLLED_BACK)
            if not row.state.is_open:
                self.ended[row.id] = row.state


TestPromotions = Promotions.TestCase
TestPromotions.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
