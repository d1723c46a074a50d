"""Processes die, or stop for longer than their lease, at every boundary of a promotion's life; nothing shows of it."""

import os
import time
from collections.abc import Iterator

import pytest

from mlflow_ext.domain.stages import Stage
from tests.conftest import clone_database, wait_until
from tests.integration.sweep.ground import GATES, WITHIN_S, Ground
from tests.integration.sweep.nursery import Nursery
from tests.integration.sweep.points import DIRECTORY, POINTS, Point
from tests.integration.sweep.rounds import Round, Tally

HEAD = f"{'point':<40} {'effect':<8} struck  doubled  stuck  skipped  slowest s"
TIMES = int(os.environ.get("SWEEP_TIMES", "20"))
MODELS_A_WORKER = 3
"""So many at once: a stop takes a worker away from all the others, and theirs is not the time that is asked for."""
TRIES = 4


@pytest.fixture(scope="module")
def ground(postgres: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A database and an MLflow server of the sweep's own."""
    directory = tmp_path_factory.mktemp("sweep")
    for url in clone_database(postgres, template_database):
        made = Ground(url, directory, Nursery(directory))
        try:
            made.start_mlflow()
            yield made
        finally:
            made.close()


def test_a_kill_at_every_point_changes_nothing(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """Each point once with SIGKILL: nothing doubled, nothing stuck, no gate skipped."""
    # other tests run at the same time: how soon is the whole sweep's question
    sweep(ground, capsys, [(point, "SIGKILL") for point in POINTS], workers=3, within_s=60)


def test_a_worker_that_wakes_up_late_does_not_undo_a_persons_word(ground: Ground) -> None:
    """Stopped right before it calls MLflow; another one publishes, a person moves on; its call is refused then."""
    model = ground.model("good", "good", "good")
    ground.move(model, 1, Stage.PRODUCTION)
    notes = ground.orders({model: ("before MLflow is called", "SIGSTOP")})
    environment = ground.environment({model: GATES}, **{DIRECTORY: str(notes)})
    workers = [ground.nursery.start("worker", environment) for _ in range(2)]
    try:
        ground.move(model, 2, Stage.STAGING)
        wait_until((notes / model).exists, 60, ground.nursery.logs)
        stopped = int((notes / model).read_text().split()[0])
        wait_until(lambda: ground.shows(model, 2), 60, ground.nursery.logs)
        [promotion] = ground.parts.promotions.find(model)
        ground.move(model, 3, Stage.PRODUCTION)
        wait_until(lambda: ground.shows(model, 3), 60, ground.nursery.logs)
        ground.wake(stopped)
        let_go = f"promotion_let_go promotion={promotion.id} attempt=1"
        wait_until(lambda: let_go in ground.nursery.logs(), 60, ground.nursery.logs)
        assert ground.shows(model, 3)
        assert [count for what, count in ground.effects(model).items() if what == "version 2"] == [1]
    finally:
        ground.end(workers)


@pytest.mark.slow
@pytest.mark.timeout(7200)  # a slow machine's; a quiet one needs half an hour
@pytest.mark.parametrize("workers", [2, 8])
def test_the_whole_sweep(ground: Ground, capsys: pytest.CaptureFixture[str], workers: int) -> None:
    """Each point 20 times killed, 20 times stopped for more than twice the lease: right within 10 s of its end."""
    times = TIMES if workers == 2 else TIMES // 5
    strikes = [(point, effect) for _ in range(times) for effect in ("SIGKILL", "SIGSTOP") for point in POINTS]
    sweep(ground, capsys, strikes, workers=workers)


def sweep(
    ground: Ground,
    capsys: pytest.CaptureFixture[str],
    strikes: list[tuple[Point, str]],
    *,
    workers: int,
    within_s: float = WITHIN_S,
) -> None:
    """Run rounds of some models, say how far it is, and print the table."""
    started = time.monotonic()
    rows = {(point.name, effect): Tally() for point, effect in strikes}
    whole = Tally()
    with capsys.disabled():
        print(f"\n{HEAD}")
    left = strikes
    # two threads of a worker are at different models: who dies at one's point may never come by the other's
    for _ in range(TRIES):
        for some in batched(left, MODELS_A_WORKER * workers):
            for key, tally in Round(ground, some, workers, within_s).run().items():
                rows[key].add(tally)
                whole.add(tally)
            so_far = f"so far, of {len(strikes)}, in {time.monotonic() - started:.0f} s"
            with capsys.disabled():
                print(f"{so_far:<49} {whole.line}", flush=True)
        left, whole.missed = whole.missed, []
    whole.problems += [f"{point.name}, {effect}: the point was not passed" for point, effect in left]
    lines = [HEAD, *(f"{point:<40} {effect:<8} {tally.line}" for (point, effect), tally in rows.items())]
    lines.append(f"{'all':<40} {'':<8} {whole.line}")
    with capsys.disabled():
        print(f"\n{chr(10).join(lines)}\n{workers} workers, {time.monotonic() - started:.0f} s")
    assert not whole.problems, "\n".join(whole.problems)


def batched(strikes: list[tuple[Point, str]], size: int) -> Iterator[list[tuple[Point, str]]]:
    """Cut into pieces."""
    for start in range(0, len(strikes), size):
        yield strikes[start : start + size]
