"""Is the candidate fast and small enough? Times of predictions and loads, rows a second, memory, size of its files.

What clients wait for in the promotion service is measured there (`serving/`); this compares models.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.gate_context import GateContext, JudgedVersion
from mlflow_ext.gates.statistics.bounds import at_most
from mlflow_ext.gates.statistics.groups import interval
from mlflow_ext.policy import GatePolicy

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_WARM_UP_CALLS = 5
_BATCH_ROWS = 10_000
_BATCHES = 3
_CONFIDENCE = 0.95
_COSTS = ("max_load_s", "max_load_ratio", "max_memory_mb", "max_memory_ratio")
_BOUNDS = ("max_p50_ms", "max_p99_ms", "max_p50_ratio", "min_rows_per_s", *_COSTS, "max_size_mb")
_LEAST_MB = 1.0
"""Memory below this is the page's size and the allocator's mood; ratios count from here."""


class PerformancePolicy(GatePolicy):
    """Bounds for time and size; each bound gives a result.

    Attributes:
        gate: `performance`.
        max_p50_ms: Largest median time of a one-row prediction, in milliseconds.
        max_p99_ms: Largest 99th percentile of it, in milliseconds.
        max_p50_ratio: Largest median, as a multiple of Production's.
        min_rows_per_s: Least rows a second when many are predicted at once.
        max_load_s: Longest time to load the files, in seconds (median of several, in a process of its own).
        max_load_ratio: The same as a multiple of Production's.
        max_memory_mb: Most memory that loading and answering take above the libraries', in megabytes.
        max_memory_ratio: The same as a multiple of Production's.
        max_size_mb: Largest size of all files, in megabytes (1,000,000 bytes).
        calls: Number of one-row predictions.
        undecided: What a missed time means that the interval still holds.
    """

    gate: Literal["performance"] = "performance"
    max_p50_ms: float | None = Field(default=None, gt=0)
    max_p99_ms: float | None = Field(default=None, gt=0)
    max_p50_ratio: float | None = Field(default=None, gt=0)
    min_rows_per_s: float | None = Field(default=None, gt=0)
    max_load_s: float | None = Field(default=None, gt=0)
    max_load_ratio: float | None = Field(default=None, gt=0)
    max_memory_mb: float | None = Field(default=None, gt=0)
    max_memory_ratio: float | None = Field(default=None, gt=0)
    max_size_mb: float | None = Field(default=None, gt=0)
    calls: int = Field(default=200, ge=20, le=10_000)
    undecided: Literal["inconclusive", "failed"] = "inconclusive"

    @model_validator(mode="after")
    def _has_a_bound(self) -> "PerformancePolicy":
        if all(getattr(self, bound) is None for bound in _BOUNDS):
            raise ValueError(f"a performance gate needs {', '.join(_BOUNDS[:-1])} or {_BOUNDS[-1]}")
        return self


@dataclass(frozen=True, slots=True)
class PerformanceGate:
    """`gate: performance`.

    Attributes:
        clock: Gives seconds.
    """

    clock: Callable[[], float] = time.perf_counter
    policy: type[PerformancePolicy] = PerformancePolicy

    def judge(self, policy: PerformancePolicy, context: GateContext) -> list[GateResult]:
        """Measure what the policy has bounds for.

        Raises:
            EvaluationImpossibleError: A version cannot answer, or the champion cannot be loaded.
        """
        results = []
        if policy.max_p50_ms is not None or policy.max_p99_ms is not None or policy.max_p50_ratio is not None:
            results += self._times(policy, context)
        if policy.min_rows_per_s is not None:
            results.append(self._batches(policy, policy.min_rows_per_s, context))
        if any(getattr(policy, bound) is not None for bound in _COSTS):
            results += _costs(policy, context)
        if policy.max_size_mb is not None:
            results.append(_size(policy, policy.max_size_mb, context))
        return results

    def _times(self, policy: PerformancePolicy, context: GateContext) -> list[GateResult]:
        import numpy as np

        champion = context.champion if policy.max_p50_ratio is not None else None
        mine, theirs = self._one_by_one(context, champion, policy.calls)
        details = {f"p{share}_ms": float(np.percentile(mine, share)) for share in (50, 90, 99)}
        results = []
        for word, share, bound in (("p50", 50, policy.max_p50_ms), ("p99", 99, policy.max_p99_ms)):
            if bound is None:
                continue
            found = float(np.percentile(mine, share))

            def of_drawn(drawn: "NDArray[np.int64]", share: int = share) -> float:
                return float(np.percentile(mine[drawn], share))

            reach = interval(of_drawn, len(mine), _CONFIDENCE)
            name = f"{word} of a one-row prediction ≤ {bound:g} ms"
            words = f"{word} of {len(mine)} one-row predictions is {found:.4g} ms"
            results.append(_timed(policy, name, words, found, bound, reach, len(mine), details))
        if policy.max_p50_ratio is None:
            return results
        name = f"median time ≤ {policy.max_p50_ratio:g} times Production's"
        if champion is None or theirs is None:
            reason = "there is no version in Production to be slower than"
            return [*results, GateResult(policy.gate, name, Verdict.PASSED, reason, details=details)]

        def ratio(drawn: "NDArray[np.int64]") -> float:
            return float(np.median(mine[drawn]) / np.median(theirs[drawn]))

        everything = np.arange(len(mine))
        found, reach = ratio(everything), interval(ratio, len(mine), _CONFIDENCE)
        words = (
            f"the median time of a one-row prediction is {np.median(mine):.4g} ms, {found:.4g} times that of version "
            f"{champion.version} in Production ({np.median(theirs):.4g} ms)"
        )
        details = {**details, "production_p50_ms": float(np.median(theirs))}
        return [*results, _timed(policy, name, words, found, policy.max_p50_ratio, reach, len(mine), details)]

    def _one_by_one(
        self, context: GateContext, champion: JudgedVersion | None, calls: int
    ) -> "tuple[NDArray[np.float64], NDArray[np.float64] | None]":
        """Time both versions in turn, in milliseconds; whoever comes second finds a warm cache, so they take turns."""
        import numpy as np

        sides = [context.candidate] if champion is None else [context.candidate, champion]
        rows = [context.rows.iloc[[number % len(context.rows)]] for number in range(calls + _WARM_UP_CALLS)]
        times: list[list[float]] = [[] for _ in sides]
        for number, row in enumerate(rows):
            for place in sorted(range(len(sides)), reverse=bool(number % 2)):
                times[place].append(self._took(sides[place], row) * 1_000)
        kept = [np.array(some[_WARM_UP_CALLS:]) for some in times]
        return kept[0], kept[1] if champion is not None else None

    def _batches(self, policy: PerformancePolicy, bound: float, context: GateContext) -> GateResult:
        many = context.rows.head(_BATCH_ROWS)
        # the fastest of a few: the others were disturbed; each is a frame of its own, because answers are kept
        fastest = min(self._took(context.candidate, many.copy()) for _ in range(_BATCHES))
        found = len(many) / max(fastest, 1e-9)
        return GateResult(
            gate=policy.gate,
            name=f"≥ {bound:g} rows a second",
            verdict=Verdict.PASSED if found >= bound else Verdict.FAILED,
            reason=f"{found:,.0f} rows a second, {len(many)} at once; at least {bound:,.0f} are asked for",
            measured=found,
            bound=bound,
            sample_size=len(many),
        )

    def _took(self, side: JudgedVersion, frame: "pd.DataFrame") -> float:
        begun = self.clock()
        side.predict(frame)
        return self.clock() - begun


gate = PerformanceGate()


def _costs(policy: PerformancePolicy, context: GateContext) -> list[GateResult]:
    """Load the candidate, and Production where a ratio is asked for, each in a process of its own."""
    rows = context.rows.head(_BATCH_ROWS)
    compared = policy.max_load_ratio is not None or policy.max_memory_ratio is not None
    champion = context.champion if compared else None
    mine = context.candidate.load_cost(rows)
    theirs = champion.load_cost(rows) if champion is not None else None
    memory = max(mine.peak_bytes / 1e6, _LEAST_MB)
    before = None if theirs is None else max(theirs.peak_bytes / 1e6, _LEAST_MB)
    details = {
        "first_load_s": mine.first_s,
        "load_s": mine.load_s,
        "peak_memory_mb": mine.peak_bytes / 1e6,
        "resident_memory_mb": mine.resident_bytes / 1e6,
    }
    if theirs is not None:
        details |= {"production_load_s": theirs.load_s, "production_peak_memory_mb": theirs.peak_bytes / 1e6}
    found = []
    asked = (
        (
            "loading",
            "s",
            mine.load_s,
            None if theirs is None else theirs.load_s,
            policy.max_load_s,
            policy.max_load_ratio,
        ),
        ("memory", "MB", memory, before, policy.max_memory_mb, policy.max_memory_ratio),
    )
    for what, unit, value, other, most, ratio in asked:
        if most is not None:
            reason = f"{what} takes {value:.4g} {unit}; at most {most:g} is allowed"
            found.append(_held(policy, f"{what} ≤ {most:g} {unit}", reason, value, most, details))
        if ratio is None:
            continue
        name = f"{what} ≤ {ratio:g} times Production's"
        if other is None or champion is None:
            words = "there is no version in Production to compare with"
            found.append(GateResult(policy.gate, name, Verdict.PASSED, words, details=details))
            continue
        times = value / max(other, 1e-9)
        reason = (
            f"{what} takes {value:.4g} {unit}, {times:.3g} times the {other:.4g} {unit} of version {champion.version} "
            f"in Production; at most {ratio:g} times is allowed"
        )
        found.append(_held(policy, name, reason, times, ratio, details))
    return found


def _held(
    policy: PerformancePolicy, name: str, reason: str, found: float, bound: float, details: dict[str, float]
) -> GateResult:
    return GateResult(
        gate=policy.gate,
        name=name,
        verdict=Verdict.PASSED if found <= bound else Verdict.FAILED,
        reason=reason,
        measured=found,
        bound=bound,
        details=dict(details),
    )


def _size(policy: PerformancePolicy, bound: float, context: GateContext) -> GateResult:
    sizes = {
        str(file.relative_to(context.candidate.directory)): file.stat().st_size / 1e6
        for file in context.candidate.directory.rglob("*")
        if file.is_file()
    }
    found = sum(sizes.values())
    largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    return GateResult(
        gate=policy.gate,
        name=f"size ≤ {bound:g} MB",
        verdict=Verdict.PASSED if found <= bound else Verdict.FAILED,
        reason=f"{len(sizes)} files have {found:.4g} MB; at most {bound:g} are allowed",
        measured=found,
        bound=bound,
        details={"largest_files_mb": {name: sizes[name] for name in largest}},
    )


def _timed(
    policy: PerformancePolicy,
    name: str,
    words: str,
    found: float,
    bound: float,
    reach: tuple[float, float],
    calls: int,
    details: dict[str, Any],
) -> GateResult:
    verdict, judged = at_most(found, bound, reach[0], policy.undecided)
    return GateResult(
        gate=policy.gate,
        name=name,
        verdict=verdict,
        reason=f"{words} ({_CONFIDENCE:.0%} interval {reach[0]:.4g} to {reach[1]:.4g}), {judged} the {bound:g} allowed",
        measured=found,
        bound=bound,
        sample_size=calls,
        interval=reach,
        details=details,
    )
