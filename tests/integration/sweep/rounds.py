"""One round of the sweep: several models at once, each of them struck once at a point of its own."""

import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mlflow_ext.domain.promotion import Promotion, PromotionState
from mlflow_ext.domain.stages import Stage
from tests.integration.sweep.flows import FLOWS, Flow
from tests.integration.sweep.ground import GATES, LEASE_S, STOPPED_S, WITHIN_S, Ground
from tests.integration.sweep.points import DIRECTORY, PERSON, Point

_LOST_S = 120.0
"""Whatever has not come to its end by then never will."""
_PASSED_BY_S = 10.0
"""What has been right for so long without having been struck never comes by its point any more."""
_LOOK_S = 0.05


@dataclass
class Tally:
    """What became of some models.

    Attributes:
        struck: Processes that were killed or stopped.
        doubled: Models with an effect that happened twice, or that did not last.
        stuck: Models that did not come to their end.
        skipped: Models with a version that got to Production without its gates.
        slowest_s: Seconds from the end of the dead worker's lease until all was as it should be.
        missed: Strikes that did not happen though all ended as it should: a process died at another model's point.
        problems: What was wrong, for people.
    """

    struck: int = 0
    doubled: int = 0
    stuck: int = 0
    skipped: int = 0
    slowest_s: float = 0.0
    missed: list[tuple[Point, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Count others in."""
        self.struck += other.struck
        self.doubled += other.doubled
        self.stuck += other.stuck
        self.skipped += other.skipped
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.missed += other.missed
        self.problems += other.problems

    @property
    def line(self) -> str:
        """The numbers of a row of the table."""
        return f"{self.struck:>6} {self.doubled:>8} {self.stuck:>6} {self.skipped:>8} {self.slowest_s:>10.1f}"


@dataclass
class Case:
    """One model of a round, as far as it has come.

    Attributes:
        model: Its name.
        point: Where it is struck.
        effect: `SIGKILL` or `SIGSTOP`.
        struck: When it was, by the machine's monotonic clock.
        settled: When all was as it should be, after that.
        right: Since when all has been as it should be though it was not struck.
        command: The process of the person's command.
        gone_on: Whether the person has done what comes second.
    """

    model: str
    point: Point
    effect: str
    struck: float | None = None
    settled: float | None = None
    right: float | None = None
    command: int | None = None
    gone_on: bool = False

    @property
    def flow(self) -> Flow:
        """Its story."""
        return FLOWS[self.point.flow]


@dataclass
class Round:
    """Some models at once.

    Attributes:
        ground: Where it happens.
        strikes: A point and an effect for each model.
        workers: How many workers.
        within_s: So soon after the lease has ended a model has to be as if nothing had happened.
    """

    ground: Ground
    strikes: Sequence[tuple[Point, str]]
    workers: int = 2
    within_s: float = WITHIN_S
    _workers: list[int] = field(default_factory=list)
    _asleep: dict[int, float] = field(default_factory=dict)

    def run(self) -> dict[tuple[str, str], Tally]:
        """Let it happen, and judge; gives a tally for each point and effect."""
        cases = [Case(FLOWS[point.flow].begin(self.ground), point, effect) for point, effect in self.strikes]
        notes = self.ground.orders({one.model: (one.point.name, one.effect) for one in cases})
        policies = {one.model: one.flow.rules for one in cases}
        environment = self.ground.environment(policies, **{DIRECTORY: str(notes)})
        try:
            self._workers = [self.ground.nursery.start("worker", environment) for _ in range(self.workers)]
            for case in cases:
                self.ground.move(case.model, 2, Stage.STAGING)
            end = time.monotonic() + _LOST_S
            while time.monotonic() < end and (self._asleep or any(one.settled is None for one in cases)):
                self._disturb(cases)
                self._replace(environment)
                for case in cases:
                    note = notes / case.model
                    if case.struck is None and note.exists():
                        self._note(case, note.read_text(encoding="utf-8"))
                    if case.settled is None:
                        self._go_on(case, environment)
                        self._look(case)
                self._wake()
                time.sleep(_LOOK_S)
        finally:
            self._wake(everybody=True)
            self.ground.end(self._workers)
        found: dict[tuple[str, str], Tally] = {}
        # reads the whole trail, which every round makes longer
        findings = self.ground.audit.verify()
        for case in cases:
            tampered = [one.problem for one in findings if one.model == case.model]
            found.setdefault((case.point.name, case.effect), Tally()).add(self._judge(case, tampered))
            self.ground.forget(case.model)
        return found

    def _disturb(self, cases: list[Case]) -> None:
        """Do whatever else goes wrong in this round."""

    def _replace(self, environment: dict[str, str]) -> None:
        """Start a new worker for each that died, as a supervisor does."""
        for number, pid in enumerate(self._workers):
            if self.ground.nursery.ended(pid) is not None:
                self._workers[number] = self.ground.nursery.start("worker", environment)

    def _note(self, case: Case, note: str) -> None:
        pid, at = note.split()
        case.struck = float(at)
        if case.effect == signal.SIGSTOP.name:
            self._asleep[int(pid)] = case.struck + STOPPED_S

    def _wake(self, *, everybody: bool = False) -> None:
        for pid, at in list(self._asleep.items()):
            if everybody or time.monotonic() >= at:
                del self._asleep[pid]
                if self.ground.nursery.ended(pid) is None:
                    self.ground.wake(pid)

    def _go_on(self, case: Case, environment: dict[str, str]) -> None:
        """Let the person do what comes second; whoever was killed before it had an effect does it again."""
        flow = case.flow
        if flow.ready is None or (case.command is not None and self.ground.nursery.ended(case.command) is None):
            return
        newest = self._newest(case.model)
        if newest is None or newest.state is not flow.ready:
            return
        if flow.ready is PromotionState.PROMOTED and not self.ground.shows(case.model, 2):
            return
        if flow.then is not None and not case.gone_on:
            self.ground.move(case.model, 2, flow.then)
        if flow.command is not None:
            arguments = flow.command(case.model, newest)
            case.command = self.ground.nursery.start("command", {**environment, PERSON: "1"}, arguments)
        case.gone_on = True

    def _newest(self, model: str) -> Promotion | None:
        found = self.ground.parts.promotions.find(model, version=2, limit=1)
        return found[0] if found else None

    def _ends_well(self, case: Case) -> bool:
        newest = self._newest(case.model)
        return (
            newest is not None
            and newest.state is case.flow.state
            and self.ground.shows(case.model, case.flow.production)
        )

    def _look(self, case: Case) -> None:
        if not self._ends_well(case):
            case.right = None
            return
        now = time.monotonic()
        case.right = case.right or now
        if case.struck is not None or now - case.right > _PASSED_BY_S:
            case.settled = now

    def _judge(self, case: Case, tampered: Sequence[str]) -> Tally:
        tally = Tally(struck=case.struck is not None)
        problems: list[str] = []
        if case.settled is None:
            if case.struck is None:
                problems.append("the point was not passed")
            tally.stuck += 1
            newest = self._newest(case.model)
            versions = self.ground.versions(case.model).values()
            problems.append(
                f"stuck: {newest and (newest.state, newest.reason)}, {[(v.version, v.stage) for v in versions]}"
            )
        elif case.struck is None:
            tally.missed.append((case.point, case.effect))
        else:
            tally.slowest_s = case.settled - case.struck - LEASE_S
            if tally.slowest_s > self.within_s:
                problems.append(f"{tally.slowest_s:.1f} s after the lease")
            if not self._ends_well(case):
                # a process that slept through it has changed something afterwards
                tally.doubled += 1
                problems.append("it was right once, and is not any more")
        twice, skipped = list(self._twice(case)), list(self._without_gates(case))
        tally.doubled += bool(twice)
        tally.skipped += bool(skipped)
        problems += [*twice, *skipped, *tampered]
        tally.problems += [f"{case.point.name}, {case.effect}, {case.model}: {problem}" for problem in problems]
        return tally

    def _twice(self, case: Case) -> Iterator[str]:
        """Name effects that happened more often than they may."""
        flow = case.flow
        back = flow.production == 1 and flow.ready is PromotionState.PROMOTED
        for what, count in self.ground.effects(case.model).items():
            if count > (2 if what == "version 1" and back else 1):
                yield f"{what}: {count} times"
        ends = Counter(row.state for row in self.ground.parts.promotions.find(case.model))
        # an override follows on gates that have refused; it asks them nothing, whenever it is killed
        refused = ends.pop(PromotionState.REJECTED, 0) if not flow.gates_pass else 0
        if ends != {flow.state: 1} or refused > 1:
            yield f"promotions: {dict(ends)}"

    def _without_gates(self, case: Case) -> Iterator[str]:
        """Name versions that got to Production without every gate of the policy having let them."""
        for promotion in self.ground.parts.promotions.find(case.model):
            if promotion.state not in (PromotionState.PROMOTED, PromotionState.ROLLED_BACK):
                continue
            results = (promotion.report or {}).get("results", [])
            verdicts = [one["verdict"] for one in results if one["gate"] == "metric"]
            if case.flow.gates_pass and verdicts != ["passed"] * len(GATES["gates"]):
                yield f"promotion {promotion.id} has {verdicts}"
            if not case.flow.gates_pass and not promotion.override_reason:
                yield f"promotion {promotion.id} has neither passed nor a reason"
