"""PostgreSQL or MLflow goes away in the middle of promotions, and comes back; nothing shows of it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from mlflow_ext.registry.schema import create_mlflow_tables
from mlflow_ext.store import schema
from mlflow_ext.store.engine import make_engine
from tests.conftest import database_url_for
from tests.integration.sweep.flows import FLOWS
from tests.integration.sweep.ground import Ground
from tests.integration.sweep.nursery import Nursery
from tests.integration.sweep.points import Point
from tests.integration.sweep.rounds import Case, Round, Tally
from tests.own_postgres import OwnPostgres

TIMES = int(os.environ.get("SWEEP_TIMES", "20"))
AWAY_S = 1.0
STORIES = ("promote", "approve", "reject", "override", "roll back", "withdraw")
WITHIN_S = 30.0
"""So soon after it is back all is as if nothing had happened: who waits for it looks at least every ten seconds."""


@dataclass
class Place:
    """Where it happens: a ground whose PostgreSQL may be stopped."""

    ground: Ground
    postgres: OwnPostgres

    def restart_postgres(self, how: signal.Signals) -> None:
        """Stop PostgreSQL for a while."""
        self.postgres.stop(how)
        time.sleep(AWAY_S)
        self.postgres.start()

    def restart_mlflow(self) -> None:
        """Kill MLflow's server, and start it again after a while."""
        self.ground.end([self.ground.mlflow])
        time.sleep(AWAY_S)
        self.ground.start_mlflow()


OUTAGES: dict[str, Callable[[Place], None]] = {
    "PostgreSQL, fast": lambda place: place.restart_postgres(signal.SIGINT),
    "PostgreSQL, immediate": lambda place: place.restart_postgres(signal.SIGQUIT),
    "MLflow, killed": Place.restart_mlflow,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A PostgreSQL server, a database and an MLflow server of one's own."""
    directory = tmp_path_factory.mktemp("outages")
    postgres = OwnPostgres()
    try:
        postgres.start()
        url = database_url_for(postgres.url, "postgres")
        create_mlflow_tables(url)
        engine = make_engine(url)
        schema.upgrade(engine)
        engine.dispose()
        ground = Ground(url, directory, Nursery(directory))
        try:
            ground.start_mlflow()
            yield Place(ground, postgres)
        finally:
            ground.close()
    finally:
        postgres.close()


@dataclass
class Interrupted(Round):
    """A round in which no process is struck, but what they need goes away: each time some more models have settled.

    Attributes:
        outage: Takes something away, and gives it back.
        after: By how many models have settled, when.
    """

    outage: Callable[[], None] = lambda: None
    after: list[int] = field(default_factory=lambda: [1, 3])

    def _disturb(self, cases: list[Case]) -> None:
        due = self.after and sum(case.settled is not None for case in cases) >= self.after[0]
        if due:
            assert any(case.settled is None for case in cases), "there was nothing left to interrupt"
            self.after.pop(0)
            self.outage()
        for case in cases:
            if case.struck is None or (due and case.settled is None):
                case.struck = time.monotonic()


@pytest.mark.parametrize("name", OUTAGES)
def test_promotions_outlive_an_outage(place: Place, name: str) -> None:
    """A model for each story, two outages in their middle: nothing doubled, nothing stuck, no gate skipped."""
    tally = interrupted(place, name)
    assert not tally.problems, "\n".join(tally.problems)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", OUTAGES)
def test_promotions_outlive_many_outages(place: Place, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same twenty times, which makes forty outages of each kind."""
    whole = Tally()
    for _ in range(TIMES):
        whole.add(interrupted(place, name))
    with capsys.disabled():
        print(f"\n{name}: {2 * TIMES} outages\nmodels  doubled  stuck  skipped  slowest s\n{whole.line}")
    assert not whole.problems, "\n".join(whole.problems)


def interrupted(place: Place, name: str) -> Tally:
    """Run one round with outages."""
    strikes = [(Point(f"{name}, {story}", "", flow=story), "") for story in STORIES]
    assert {point.flow for point, _ in strikes} <= set(FLOWS)
    whole = Tally()
    for tally in Interrupted(place.ground, strikes, 3, WITHIN_S, outage=lambda: OUTAGES[name](place)).run().values():
        whole.add(tally)
    whole.problems += [f"{point.name}: no outage came" for point, _ in whole.missed]
    return whole
