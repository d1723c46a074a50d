"""The performance gate, by a clock that the models themselves move."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.gate_context import LoadCost
from mlflow_ext.gates.performance import PerformanceGate, PerformancePolicy
from mlflow_ext.testing import MemoryContext, MemoryVersion

ROWS = pd.DataFrame({"x": np.arange(50.0), "target": 0})


class Machine:
    """A clock, and models that take as long as they are told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[int] = []
        self.rng = np.random.default_rng(2)

    def version(self, number: int, one_ms: float, *, jitter: float = 0.0, row_us: float = 0.0) -> MemoryVersion:
        """A model that takes some time a call, more or less, and some a row."""

        def answer(frame: pd.DataFrame) -> Any:
            self.calls.append(number)
            self.now += one_ms / 1e3 * (1 + jitter * self.rng.random()) + len(frame) * row_us / 1e6
            return np.zeros(len(frame))

        return MemoryVersion(number, answer=answer)


def judged(make: Callable[[Machine], tuple[MemoryVersion, MemoryVersion | None]], **policy: Any) -> list[GateResult]:
    """Judge such models."""
    machine = Machine()
    candidate, champion = make(machine)
    context = MemoryContext(candidate, ROWS, champion)
    return PerformanceGate(lambda: machine.now).judge(PerformancePolicy.model_validate(policy), context)


def test_times_are_held_against_bounds_and_production() -> None:
    """Three milliseconds where Production takes two; both answer the same rows in turn."""
    machine = Machine()
    context = MemoryContext(machine.version(2, 3.0), ROWS, machine.version(1, 2.0))
    policy = PerformancePolicy(max_p50_ms=4, max_p99_ms=2.5, max_p50_ratio=1.4, calls=40)
    p50, p99, ratio = PerformanceGate(lambda: machine.now).judge(policy, context)
    assert (p50.verdict, p99.verdict, ratio.verdict) == (Verdict.PASSED, Verdict.FAILED, Verdict.FAILED)
    assert (p50.measured, ratio.measured) == (pytest.approx(3.0), pytest.approx(1.5))
    assert (ratio.details["production_p50_ms"], ratio.sample_size) == (pytest.approx(2.0), 40)
    assert machine.calls[:4] == [2, 1, 1, 2]
    assert machine.calls.count(1) == machine.calls.count(2) == 45


def test_a_time_that_may_be_chance_is_not_held_against_it() -> None:
    """An interval that holds the bound decides nothing, unless the policy says so; without Production it passes."""

    def noisy(machine: Machine) -> tuple[MemoryVersion, MemoryVersion | None]:
        return machine.version(2, 1.02, jitter=1.0), machine.version(1, 1.0, jitter=1.0)

    [open_] = judged(noisy, max_p50_ratio=0.97, calls=40)
    [closed] = judged(noisy, max_p50_ratio=0.97, calls=40, undecided="failed")
    assert (open_.verdict, closed.verdict) == (Verdict.INCONCLUSIVE, Verdict.FAILED)
    assert open_.interval is not None
    assert open_.interval[0] < 0.97 < (open_.measured or 0)
    [first] = judged(lambda machine: (machine.version(2, 9.0), None), max_p50_ratio=1)
    assert (first.verdict, "no version in Production" in first.reason) == (Verdict.PASSED, True)


def test_rows_a_second() -> None:
    """Fifty rows at once in one millisecond and twenty microseconds each: 25,000 a second."""
    [fast] = judged(lambda machine: (machine.version(2, 1.0, row_us=20), None), min_rows_per_s=24_000)
    [slow] = judged(lambda machine: (machine.version(2, 1.0, row_us=20), None), min_rows_per_s=26_000)
    assert (fast.verdict, fast.measured, slow.verdict) == (Verdict.PASSED, pytest.approx(25_000), Verdict.FAILED)


def test_size_is_that_of_all_files(tmp_path: Path) -> None:
    """Files in folders count; the largest are named."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "MLmodel").write_bytes(b"x" * 500_000)
    (tmp_path / "deep" / "model.skops").write_bytes(b"x" * 1_500_000)
    context = MemoryContext(MemoryVersion(2, directory=tmp_path), ROWS)
    for bound, verdict in ((2.0, Verdict.PASSED), (1.9, Verdict.FAILED)):
        [result] = PerformanceGate().judge(PerformancePolicy(max_size_mb=bound), context)
        assert (result.verdict, result.measured) == (verdict, 2.0)
        assert list(result.details["largest_files_mb"]) == ["deep/model.skops", "MLmodel"]


def test_a_policy_that_bounds_nothing_is_a_mistake() -> None:
    """It is refused when the policy is read."""
    with pytest.raises(ValidationError, match="needs max_p50_ms"):
        PerformancePolicy()


def cost(load_s: float, peak_mb: float) -> LoadCost:
    """What loading costs."""
    return LoadCost(first_s=load_s * 3, load_s=load_s, peak_bytes=int(peak_mb * 1e6), resident_bytes=0)


def test_loading_is_held_against_bounds_and_production() -> None:
    """Half a second and 300 MB where Production takes 0.4 s and 100 MB; each bound is a result of its own."""
    context = MemoryContext(MemoryVersion(2, cost=cost(0.5, 300)), ROWS, MemoryVersion(1, cost=cost(0.4, 100)))
    policy = PerformancePolicy(max_load_s=0.45, max_load_ratio=1.5, max_memory_mb=400, max_memory_ratio=2)
    found = PerformanceGate().judge(policy, context)
    assert [one.verdict for one in found] == [Verdict.FAILED, Verdict.PASSED, Verdict.PASSED, Verdict.FAILED]
    assert [one.measured for one in found] == [0.5, pytest.approx(1.25), 300, pytest.approx(3)]
    assert "memory takes 300 MB, 3 times the 100 MB of version 1 in Production" in found[-1].reason
    assert found[0].details["first_load_s"] == 1.5


def test_small_models_are_not_compared_by_their_pages() -> None:
    """Memory below a megabyte is no memory, and without Production there is nothing to exceed."""
    small = MemoryContext(MemoryVersion(2, cost=cost(0.1, 0.9)), ROWS, MemoryVersion(1, cost=cost(0.1, 0.0)))
    [result] = PerformanceGate().judge(PerformancePolicy(max_memory_ratio=1.0), small)
    assert (result.verdict, result.measured) == (Verdict.PASSED, 1.0)
    first = MemoryContext(MemoryVersion(2, cost=cost(0.1, 50)), ROWS)
    [alone] = PerformanceGate().judge(PerformancePolicy(max_load_ratio=1.0), first)
    assert (alone.verdict, "no version in Production" in alone.reason) == (Verdict.PASSED, True)
