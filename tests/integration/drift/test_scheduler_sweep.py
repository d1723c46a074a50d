"""Two schedulers that are killed, or stopped for longer than their lease, again and again: each slot once, in time."""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from mlflow_ext.domain.drift import CheckState, DriftCheck
from mlflow_ext.registry.drift_history import HISTORY_TAG
from mlflow_ext.registry.drift_runs import SLOT_TAG
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.replicas import Replicas
from mlflow_ext.store.schedules import Schedules
from mlflow_ext.store.slots import next_slot
from tests.integration.drift import strikes
from tests.integration.drift.conftest import World
from tests.integration.drift.nursery import LOG, Forked, Nursery

STRIKES = int(os.environ.get("SCHEDULER_STRIKES", "50"))
CRON = "* * * * * */3"
LEASE_S = 2.0
LATE_S = 5.0
"""So soon after the lease has ended somebody else has to be at it."""
_LOOK_S = 0.05
_MOST_ATTEMPTS = 4
"""A check whose worker dies five times is given up, by design: it is left alone before."""


@dataclass
class Sweep:
    """Two schedulers, and who strikes them.

    Attributes:
        world: A model with a schedule.
        nursery: Where processes come from.
        directory: For orders and notes of strikes.
        chance: Decides when and whom.
        counts: Strikes by effect.
        slowest_s: Seconds from a strike until somebody else took what the struck one held.
        slowest: Which strike that was.
        resumed: How often somebody else did.
    """

    world: World
    nursery: Nursery
    directory: Path
    chance: random.Random
    counts: "Counter[str]" = field(default_factory=Counter)
    slowest_s: float = 0.0
    slowest: str = "none"
    resumed: int = 0
    _schedulers: list[Forked] = field(default_factory=list)
    _asleep: list[tuple[float, list[int]]] = field(default_factory=list)
    _held: dict[tuple[int, int], tuple[float, str]] = field(default_factory=dict)

    def strike(self, effect: str) -> None:
        """Kill or stop: one half at a fault point, the other a scheduler with its children at a moment of chance."""
        # the other one is there, and awake: that nobody resumes while nobody is there is no news
        self.until(lambda: not self._asleep and self._both_there(), 60)
        self.until(lambda: self._attempts() < _MOST_ATTEMPTS, 60)
        end = time.monotonic() + self.chance.uniform(0.1, 1.5)
        self.until(lambda: time.monotonic() > end, 10)
        if self.counts[effect] % 2:
            self._at_a_point(self.chance.choice(strikes.POINTS).name, effect)
        else:
            self._somewhere(effect)
        self.counts[effect] += 1

    def until(self, holds: Callable[[], object], timeout_s: float) -> None:
        """Wait for something, and meanwhile wake who slept long enough and start anew who is dead."""
        end = time.monotonic() + timeout_s
        while True:
            self._look()
            if holds():
                return
            assert time.monotonic() < end, f"did not hold within {timeout_s} s\n{self.logs()}"
            time.sleep(_LOOK_S)

    def settled(self) -> bool:
        """Tell whether nobody sleeps, and all that was held by the struck ones went on."""
        return not self._asleep and not self._held

    def logs(self) -> str:
        """What the processes said that is not usual, and the end of the rest."""
        lines = (self.directory / "log").read_text().splitlines()
        return "\n".join([*(line for line in lines if " INFO " not in line), *lines[-100:]])

    def close(self) -> None:
        """End the schedulers in order."""
        for one in self._schedulers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGTERM)
        for one in self._schedulers:
            one.wait(20)

    def _look(self) -> None:
        now = time.monotonic()
        for until, pids in list(self._asleep):
            if now > until:
                _signal(pids, signal.SIGCONT)
                self._asleep.remove((until, pids))
        for one in list(self._schedulers):
            if one.poll() is not None:
                self._schedulers.remove(one)
        while len(self._schedulers) < 2:
            environment = {LOG: str(self.directory / "log"), strikes.DIRECTORY: str(self.directory)}
            self._schedulers.append(
                Forked.scheduler(self.nursery.address, self.world.environment(COLUMNS="150", **environment))
            )
        if self._held:
            self._see_who_went_on()

    def _somewhere(self, effect: str) -> None:
        victim = self.chance.choice(self._schedulers)
        at = time.monotonic()
        if effect == "SIGKILL":
            # its children end by themselves
            _signal([victim.pid], signal.SIGKILL)
        else:
            pids = [victim.pid, *strikes.children(self.directory, victim.pid)]
            _signal(pids, signal.SIGSTOP)
            self._sleeps(at, pids)
        self._note_held(victim.pid, at, f"{effect} at a moment of chance")

    def _at_a_point(self, point: str, effect: str) -> None:
        strikes.order(self.directory, point, effect)
        found: list[strikes.Struck] = []

        def struck() -> bool:
            found.extend(filter(None, [strikes.taken(self.directory)]))
            return bool(found)

        self.until(struck, 60)
        [one] = found
        if effect == "SIGSTOP":
            self._sleeps(one.at, [one.pid])
        self._note_held(strikes.scheduler_of(one.owner) if one.owner else one.pid, one.at, f"{effect}, {point}")

    def _sleeps(self, at: float, pids: list[int]) -> None:
        self._asleep.append((at + LEASE_S * self.chance.uniform(1.2, 2.0), pids))

    def _note_held(self, scheduler: int, at: float, strike: str) -> None:
        held = text(
            "SELECT id, attempt FROM mlflow_ext.drift_check WHERE model = :model AND lease_owner LIKE :owner "
            "AND state IN ('running', 'delivering')"
        )
        with self.world.engine.connect() as connection:
            for row in connection.execute(held, {"model": self.world.model, "owner": f"%:{scheduler}:%"}):
                self._held.setdefault((row.id, row.attempt), (at, strike))

    def _see_who_went_on(self) -> None:
        for (number, attempt), (at, strike) in list(self._held.items()):
            check = Checks(self.world.engine).get(number)
            if check.attempt > attempt or check.state is CheckState.DONE:
                self.slowest_s, self.slowest = max((self.slowest_s, self.slowest), (time.monotonic() - at, strike))
                self.resumed += 1
                del self._held[number, attempt]

    def _both_there(self) -> bool:
        living = {one.pid for one in Replicas(self.world.engine).living(role="drift")}
        return {one.pid for one in self._schedulers} <= living

    def _attempts(self) -> int:
        most = text(
            "SELECT coalesce(max(attempt), 0) FROM mlflow_ext.drift_check "
            "WHERE model = :model AND state IN ('due', 'running')"
        )
        with self.world.engine.connect() as connection:
            return int(connection.execute(most, {"model": self.world.model}).scalar_one())


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Where schedulers come from within milliseconds."""
    one = Nursery()
    yield one
    one.close()


def test_three_kills_and_three_pauses_leave_each_slot_once(
    world: World, nursery: Nursery, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sweep in small: nothing missed, nothing doubled, one MLflow run for each slot."""
    # other tests run at the same time: how soon is the whole sweep's question
    sweep(world, nursery, tmp_path, capsys, times=3, within_s=60)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fifty_kills_and_fifty_pauses_leave_each_slot_once(
    world: World, nursery: Nursery, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 missed, 0 doubled, one MLflow run for each slot, and others go on within 5 s of the lease's end."""
    sweep(world, nursery, tmp_path, capsys, times=STRIKES, within_s=LEASE_S + LATE_S)


def sweep(
    world: World,
    nursery: Nursery,
    directory: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    times: int,
    within_s: float,
) -> None:
    """Strike, let it settle, and hold the slots that were due against checks and MLflow's runs."""
    began = time.monotonic()
    world.settings = world.settings.model_copy(update={"lease_s": LEASE_S})
    world.with_policy(schedule=CRON, window_s=60.0, catch_up="all")
    place = directory / "strikes"
    place.mkdir()
    one = Sweep(world, nursery, place, random.Random(times))  # noqa: S311  (when to strike is no secret)
    checks = Checks(world.engine)
    try:
        one.until(lambda: any(check.state is CheckState.DONE for check in checks.history(world.model)), 60)
        for effect in ["SIGKILL", "SIGSTOP"] * times:
            one.strike(effect)
        one.until(one.settled, 60)
        last = checks.history(world.model, 1)[0].slot
        one.until(lambda: checks.history(world.model, 1)[0].slot > last + timedelta(seconds=3), 60)
        Schedules(world.engine).pause(world.model, "test")
        one.until(lambda: all(_ended(check) for check in checks.history(world.model, 10_000)), 300)
    finally:
        one.close()

    found = checks.history(world.model, 10_000)
    due = _due(found)
    runs = _runs(world)
    per_slot = [runs[slot] for slot in due.values()]
    done = Counter(check.slot for check in found if check.state is CheckState.DONE)
    missed = sum(done[slot] == 0 for slot in due)
    doubled = sum(done[slot] > 1 or runs[key] > 1 for slot, key in due.items())
    entered_s = _entered_late_s(world)
    after_lease_s = one.slowest_s - LEASE_S
    with capsys.disabled():
        print(
            f"\nkills {one.counts['SIGKILL']}, pauses {one.counts['SIGSTOP']}; slots due {len(due)}, missed {missed}, "
            f"doubled {doubled}, MLflow runs per slot {min(per_slot)} to {max(per_slot)}; {one.resumed} checks were "
            f"held by a struck one, resumed at most {after_lease_s:.1f} s after the lease of {LEASE_S:g} s "
            f"({one.slowest}); slots "
            f"entered at most {entered_s:.1f} s late; {time.monotonic() - began:.0f} s"
        )
    assert (missed, doubled, set(per_slot)) == (0, 0, {1}), one.logs()
    assert set(runs) == set(due.values())
    assert one.slowest_s <= within_s, one.logs()
    assert entered_s <= within_s, one.logs()


def _ended(check: DriftCheck) -> bool:
    return check.state in {CheckState.DONE, CheckState.FAILED}


def _due(found: list[DriftCheck]) -> dict[datetime, str]:
    """Give each slot from the first to the last, as the cron text says, with the name its run has to have."""
    slot, last = min(check.slot for check in found), max(check.slot for check in found)
    keys = {check.slot: check.key for check in found}
    due = {}
    while slot <= last:
        due[slot] = keys.get(slot, "missed")
        slot = next_slot(CRON, "UTC", slot)
    return due


def _runs(world: World) -> "Counter[str]":
    """Count the runs of each slot; one that is not finished counts for many."""
    experiment = world.client.get_experiment_by_name(f"mlflow-ext/drift/{world.model}")
    assert experiment is not None
    runs = world.client.search_runs([experiment.experiment_id], max_results=10_000)
    counted: Counter[str] = Counter()
    for run in runs:
        if HISTORY_TAG not in run.data.tags:
            counted[run.data.tags[SLOT_TAG]] += 1 if run.info.status == "FINISHED" else 100
    return counted


def _entered_late_s(world: World) -> float:
    late = text("SELECT max(extract(epoch FROM created_at - slot)) FROM mlflow_ext.drift_check WHERE model = :model")
    with world.engine.connect() as connection:
        return float(connection.execute(late, {"model": world.model}).scalar_one())


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
