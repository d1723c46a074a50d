"""Micro-batching, on an event loop, with plans of our making."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlflow_ext.spool import PredictionRecord, SpoolWriter, read_spool, spool_files
from serving.batcher import BATCHES_AT_ONCE, MOST_ROWS, Batcher, Waiting
from serving.metrics import Metrics
from serving.plan import Plan
from serving.prediction_log import PredictionLog
from tests.unit.serving.in_process import loaded

Rows = list[tuple[float, ...]]


def plan(compute: Callable[[Any], Any], engine: str = "kernel", batches: bool = True) -> Plan:
    """Make a plan around a function."""
    return Plan(("a",), compute, batches, engine, engine == "kernel", True, json.loads, tuple)


def waiting(id_: str, rows: Rows, give: Callable[[Waiting, bytes | None], None] = lambda one, answer: None) -> Waiting:
    """Make a request that waits."""
    return Waiting(id_, b"{}", "application/json", rows, time.perf_counter(), give)


class Bench:
    """A batcher with all that it needs."""

    def __init__(self, directory: Path) -> None:
        """Take where its log goes."""
        self.metrics = Metrics()
        self.threads = ThreadPoolExecutor(8)
        self.log = PredictionLog(SpoolWriter(directory), self.metrics)
        self.batcher = Batcher(self.log, self.metrics, self.threads)
        self.version = loaded("m", 1)
        self._directory = directory

    def ask(self, plan: Plan, *requests: Rows) -> list[bytes | None]:
        """Submit requests in one turn of the event loop; gives their answers."""

        async def run() -> list[bytes | None]:
            loop = asyncio.get_running_loop()
            futures = [loop.create_future() for _ in requests]
            for number, rows in enumerate(requests):
                one = waiting(f"r{number}", rows, lambda _, answer, future=futures[number]: future.set_result(answer))
                self.batcher.submit(self.version, plan, one)
            return [await asyncio.wait_for(future, 20) for future in futures]

        return asyncio.run(run())

    def records(self) -> list[PredictionRecord]:
        """Give what was logged."""
        self.log.close()
        return [record for path in spool_files(self._directory) for record, _ in read_spool(path)]

    def value(self, name: str, **labels: str) -> float | None:
        """Give a metric's value."""
        return self.metrics.registry.get_sample_value(f"mlflow_ext_{name}", {"model": "m", **labels})


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A batcher."""
    made = Bench(tmp_path)
    yield made
    made.threads.shutdown()


def doubled(calls: list[int]) -> Callable[[Any], Any]:
    """Double values, and note how many rows each call had."""

    def compute(rows: Any) -> Any:
        calls.append(len(rows))
        return np.asarray(rows, dtype=np.float64)[:, 0] * 2

    return compute


def test_those_who_wait_together_are_computed_together(bench: Bench) -> None:
    """One call computes all, and each gets its own rows' part."""
    calls: list[int] = []
    answers = bench.ask(plan(doubled(calls)), [(1.0,)], [(2.0,), (3.0,)], [(4.0,)])
    assert calls == [4]
    assert [json.loads(one or b"") for one in answers] == [
        {"predictions": [2.0]},
        {"predictions": [4.0, 6.0]},
        {"predictions": [8.0]},
    ]
    assert [record.request_id for record in bench.records()] == ["r0", "r1", "r2"]
    assert bench.value("batch_rows_sum", version="1") == 4
    assert bench.value("requests_total", version="1", code="200") == 3
    assert bench.value("in_progress_requests") == 0


def test_a_batch_is_bounded(bench: Bench) -> None:
    """More rows than a batch may have make several batches; a request alone may be larger."""
    calls: list[int] = []
    some = [(1.0,)] * 1_000
    bench.ask(plan(doubled(calls)), some, some, some, [(1.0,)] * (MOST_ROWS + 1), some)
    assert calls == [2_000, 1_000, MOST_ROWS + 1, 1_000]


def test_a_plan_that_must_not_batch(bench: Bench) -> None:
    """Where batches round otherwise, each request is computed alone."""
    calls: list[int] = []
    bench.ask(plan(doubled(calls), batches=False), [(1.0,)], [(2.0,)])
    assert calls == [1, 1]


@pytest.mark.parametrize("engine", ["kernel", "python"])
def test_a_failing_model(bench: Bench, engine: str) -> None:
    """A model that raises gives nobody an answer, so that MLflow's code says what is wrong; nothing is logged."""

    def fails(rows: Any) -> Any:
        raise RuntimeError("no")

    assert bench.ask(plan(fails, engine), [(1.0,)], [(2.0,)]) == [None, None]
    assert bench.records() == []
    assert bench.value("in_progress_requests") == 0


def test_one_bad_row_costs_no_other_request_its_answer(bench: Bench) -> None:
    """When the predictions of a batch cannot all be written, each request is computed by itself."""
    calls: list[int] = []
    answers = bench.ask(plan(doubled(calls)), [(1.0,)], [(float("inf"),)], [(3.0,)])
    assert [one is not None for one in answers] == [True, False, True]
    assert [record.request_id for record in bench.records()] == ["r0", "r2"]


def test_a_hanging_model_holds_few_threads(bench: Bench) -> None:
    """However many wait for a model that hangs, it holds no more than its share of the threads."""
    release, running = threading.Event(), []

    def hangs(rows: Any) -> Any:
        running.append(1)
        release.wait(20)
        return np.zeros(len(rows))

    seen: list[int] = []
    threading.Timer(0.3, lambda: (seen.append(len(running)), release.set())).start()
    answers = bench.ask(plan(hangs, "python"), *([[(0.0,)] * MOST_ROWS] * 12))
    assert None not in answers
    assert seen == [BATCHES_AT_ONCE]


def test_an_answer_that_nobody_waits_for_is_no_prediction(bench: Bench) -> None:
    """A request whose time has run out while it waited is computed, perhaps, but not logged."""

    async def run() -> None:
        gone = waiting("gone", [(1.0,)])
        gone.late = True
        bench.batcher.submit(bench.version, plan(doubled([])), gone)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(run())
    assert bench.records() == []


def test_one_client_whose_connection_fails(bench: Bench) -> None:
    """Giving an answer may fail for one request; the others of the batch get theirs."""
    got: list[bytes | None] = []

    def fails(one: Waiting, answer: bytes | None) -> None:
        raise OSError("gone")

    async def run() -> None:
        for give in (fails, lambda one, answer: got.append(answer)):
            bench.batcher.submit(bench.version, plan(doubled([])), waiting("r", [(1.0,)], give))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(run())
    assert got == [b'{"predictions": [2.0]}']


def test_versions_do_not_mix(bench: Bench) -> None:
    """Requests of two versions are never in one batch, and each is logged under its own."""
    calls: list[int] = []
    doubling = plan(doubled(calls))
    other = replace(bench.version, version=2)

    async def run() -> None:
        for number, version in enumerate([bench.version, other, bench.version]):
            bench.batcher.submit(version, doubling, waiting(f"r{number}", [(1.0,)]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(run())
    assert sorted(calls) == [1, 2]
    assert {(record.request_id, record.version) for record in bench.records()} == {("r0", 1), ("r1", 2), ("r2", 1)}


def test_what_waits_is_counted(bench: Bench) -> None:
    """Requests that wait for the batch before theirs are pending; those that are computed are not."""
    go, begun = threading.Event(), threading.Event()

    def slow(rows: Any) -> Any:
        begun.set()
        go.wait(60)
        return np.zeros(len(rows))

    async def run() -> None:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(5)]
        for number, future in enumerate(futures):
            one = waiting(f"r{number}", [(1.0,)], lambda _, answer, future=future: future.set_result(answer))
            bench.batcher.submit(bench.version, plan(slow, "python"), one)
        await loop.run_in_executor(None, begun.wait, 60)
        assert bench.batcher.pending() == {"m": 4}
        go.set()
        await asyncio.gather(*futures)
        assert sum(bench.batcher.pending().values()) == 0

    asyncio.run(run())
