"""A client that asks at a steady rate over one connection, and what turns with and without something tell.

What is compared lives with each benchmark: `gates_load.py`, `loading.py`, `flips.py`.
"""

import http.client
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psutil


def ask_from_elsewhere() -> str:
    """Let this thread ask as clients on another machine do, which wait for none of our processors; say whether."""
    if sys.platform == "linux":
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        except PermissionError:
            pass
        else:
            return "the client goes before all others, as if it were on another machine"
    return "the client waits for processors as all others do"


def stolen_s() -> float:
    """Say how long this virtual machine has waited for processors that others on its host had, in seconds."""
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a request; times in seconds of `time.perf_counter`.

    Attributes:
        due: When it was to be sent.
        began: When it was.
        ended: When its answer was there.
        version: Which version answered; nothing unless the status is 200.
        body: The answer, or what went wrong.
    """

    due: float
    began: float
    ended: float
    version: int | None
    body: bytes


class Client:
    """Asks the same thing over one connection; opens another when that is lost."""

    def __init__(self, url: str, path: str, headers: Mapping[str, str], body: str) -> None:
        """Take the service's address, the route, and what each request carries."""
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        self._path = path
        self._headers = dict(headers)
        self._body = body

    @property
    def port(self) -> int:
        """The connection's own port, by which the other side knows it."""
        number: int = self._connection.sock.getsockname()[1]
        return number

    def ask(self, due: float | None = None, path: str | None = None) -> Answered:
        """Ask once; a route other than the usual one may be named."""
        began = time.perf_counter()
        version = None
        try:
            self._connection.request("POST", path or self._path, self._body, self._headers)
            answer = self._connection.getresponse()
            body = answer.read()
            if answer.status == http.client.OK:
                version = int(answer.headers["X-Model-Version"])
        except (OSError, http.client.HTTPException) as exc:
            body = repr(exc).encode()
            self.close()
        return Answered(began if due is None else due, began, time.perf_counter(), version, body)

    def steadily(self, rate: float, goes_on: Callable[[int], bool], late: float = 0.0) -> Iterator[Answered]:
        """Ask at a rate, each request when it is due, as far as the former answer is there.

        Args:
            rate: Requests a second.
            goes_on: Asked before each request, with its number.
            late: When the first one is due, in seconds from now.
        """
        began = time.perf_counter() + late
        number = 0
        while goes_on(number):
            due = began + number / rate
            if (early := due - time.perf_counter()) > 0:
                time.sleep(early)
            yield self.ask(due)
            number += 1

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


@dataclass(frozen=True, slots=True)
class Turn:
    """What clients saw in one turn.

    Attributes:
        beside: Whether what is measured went on beside it.
        took_ms: Latency of each request, from when it was due.
        lost: Requests that were not answered with 200.
        stolen: Share of the processors' time that other machines on the same host took.
    """

    beside: bool
    took_ms: list[float]
    lost: int
    stolen: float

    def percentile(self, percent: int) -> float:
        """Give a percentile of the latency in milliseconds."""
        return statistics.quantiles(self.took_ms, n=100)[percent - 1]


def score(client: Client, rate: float, seconds: float) -> tuple[list[float], int, float]:
    """Send requests at a steady rate.

    Returns:
        Latencies in milliseconds from when each was due, how many were lost, and the share of processor time stolen.
    """
    stolen, began = stolen_s(), time.perf_counter()
    answers = list(client.steadily(rate, lambda number: number < rate * seconds))
    share = (stolen_s() - stolen) / (time.perf_counter() - began) / (os.cpu_count() or 1)
    lost = sum(1 for one in answers if one.version is None)
    return [(one.ended - one.due) * 1000 for one in answers], lost, share


def beside_in(turn: int) -> bool:
    """Say which turns have it: in the order ABBA, so that what changes slowly falls on both alike."""
    return turn % 4 in (1, 2)


def figures(turns: Sequence[Turn]) -> dict[str, float]:
    """Compare both kinds of turns by the medians of their percentiles."""
    found: dict[str, float] = {}
    for percent in (50, 99):
        quiet, beside = ([one.percentile(percent) for one in turns if one.beside is kind] for kind in (False, True))
        found |= {f"quiet_p{percent}_ms": statistics.median(quiet), f"beside_p{percent}_ms": statistics.median(beside)}
        found[f"p{percent}_ratio"] = statistics.median(beside) / statistics.median(quiet)
        found[f"p{percent}_ratio_low"], found[f"p{percent}_ratio_high"] = interval(quiet, beside)
        found |= {f"quiet_p{percent}_min_ms": min(quiet), f"quiet_p{percent}_max_ms": max(quiet)}
        found |= {f"beside_p{percent}_min_ms": min(beside), f"beside_p{percent}_max_ms": max(beside)}
    for kind, name in ((False, "quiet"), (True, "beside")):
        found[f"{name}_stolen"] = statistics.mean(one.stolen for one in turns if one.beside is kind)
    requests = sum(len(one.took_ms) for one in turns)
    return found | {"requests": requests, "lost": sum(one.lost for one in turns)}


def interval(quiet: Sequence[float], beside: Sequence[float]) -> tuple[float, float]:
    """Give a 95 % interval of the ratio of medians, by drawing turns again (percentile bootstrap)."""
    import numpy as np
    from scipy.stats import bootstrap

    def ratio(above: Any, below: Any, axis: int) -> Any:
        return np.median(above, axis) / np.median(below, axis)

    found = bootstrap((beside, quiet), ratio, n_resamples=4_000, method="percentile", rng=np.random.default_rng(0))
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def verdict(low: float, high: float, required: float) -> str:
    """Say whether a ratio that may be at most `required` is, as far as the turns can tell."""
    if high <= required:
        return "it is met"
    return "it is not met" if low > required else "these turns cannot tell"


def table(found: Mapping[str, float], beside: str, required: float) -> str:
    """Write both kinds of turns side by side, with the verdict.

    Args:
        found: What `figures` gave.
        beside: What went on in every other turn, as in "while …".
        required: How much p99 may grow.
    """

    def cell(kind: str, percent: int) -> str:
        low, high = found[f"{kind}_p{percent}_min_ms"], found[f"{kind}_p{percent}_max_ms"]
        return f"{found[f'{kind}_p{percent}_ms']:.2f} ({low:.2f} to {high:.2f})"

    rows = "\n".join(
        f"| p{percent} | {cell('quiet', percent)} | {cell('beside', percent)} | {found[f'p{percent}_ratio']:.2f} "
        f"({found[f'p{percent}_ratio_low']:.2f} to {found[f'p{percent}_ratio_high']:.2f}) |"
        for percent in (50, 99)
    )
    stolen = [f"{found[f'{kind}_stolen']:.1%}" for kind in ("quiet", "beside")]
    told = verdict(found["p99_ratio_low"], found["p99_ratio_high"], required)
    return f"""| latency | otherwise, ms | while {beside}, ms | ratio |
|---|---|---|---|
{rows}

Medians of the turns' percentiles (least to greatest); ratios with their 95 % intervals. Other machines on
the same host took {stolen[0]} of the processors' time in the former turns, {stolen[1]} in the latter.
Required: p99 ratio ≤ {required}: {told}.
"""


def split_body(row: Mapping[str, Any]) -> str:
    """Write a row as a request's body."""
    return json.dumps({"dataframe_split": {"columns": list(row), "data": [list(row.values())]}})
