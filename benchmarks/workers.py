"""Do two scoring processes do twice the work of one, and does a request take longer with them?

Two services with one and with two scoring processes are asked in turns. `wrk` needs a core of its own where requests
are small; what it took, and what the services took of the processor for a request, is measured and told beside.
"""

import os
import resource
import shutil
import signal
import statistics
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from benchmarks import memory
from benchmarks.findings import command_line, keep, load_after, machine
from benchmarks.servers import ask, new_token, platform_running, scoring_service
from benchmarks.serving import MODELS, prepare, wait_loaded
from benchmarks.steady import interval

REQUIRED = 1.7
CELLS = (("a", 1, 64), ("b", 1, 64), ("a", 10_000, 16), ("b", 10_000, 16), ("c", 10_000, 16))
"""Model, rows of a request, clients: what is compared by requests a second."""
ALONE = (("a", 1, 1), ("b", 1, 1))
"""What is compared by latency."""


def processor_s(service: psutil.Process) -> float:
    """Give the processor time that a service has taken so far, its model hosts included, in seconds."""
    times = [one.cpu_times() for one in (service, *service.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def busiest_share(service: psutil.Process) -> float:
    """Give the part of all open connections that leads to the scoring process which has most of them."""
    workers = [one for one in service.children() if memory.SCORING in one.cmdline()]
    counts = [sum(1 for there in one.net_connections("tcp") if there.status == "ESTABLISHED") for one in workers]
    return max(counts) / max(1, sum(counts))


def asked(url: str, script: Path, clients: int, seconds: int, service: psutil.Process) -> dict[str, float]:
    """Let `wrk` ask a service; what both took of the processor, in cores, comes with what `ask` gives."""
    before, own = processor_s(service), resource.getrusage(resource.RUSAGE_CHILDREN)
    shares: list[float] = []
    looking = threading.Timer(seconds / 2, lambda: shares.append(busiest_share(service)))
    looking.start()
    found = ask(url, script, clients, seconds)
    looking.join()
    after, now = processor_s(service), resource.getrusage(resource.RUSAGE_CHILDREN)
    wrk_s = now.ru_utime + now.ru_stime - own.ru_utime - own.ru_stime
    taken = {"service_cores": (after - before) / seconds, "wrk_cores": wrk_s / seconds}
    return {**found, **taken, "busiest_share": shares[0]}


def measure(rounds: int, seconds: int) -> list[dict[str, Any]]:
    """Ask both services in turns."""
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="workers-") as scratch,
        platform_running(None) as urls,
        ExitStack() as stack,
    ):
        directory = Path(scratch)
        token = new_token(urls["database_url"])
        prepare(urls["mlflow_url"], token, directory)
        services = {
            workers: stack.enter_context(scoring_service(urls, directory / str(workers), workers)) for workers in (1, 2)
        }
        for address, _ in services.values():
            for name in MODELS:
                for _ in range(20):
                    # a connection each: every scoring process has answered
                    wait_loaded(f"{address}/models/bench-{name}/invocations", directory / f"{name}-1.json", token)
        for name, rows, clients in (*CELLS, *ALONE):
            runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
            for number in range(rounds):
                # in the order ABBA: what changes slowly falls on both alike
                for workers in (1, 2) if number % 2 == 0 else (2, 1):
                    address, service = services[workers]
                    url = f"{address}/models/bench-{name}/invocations"
                    runs[workers].append(asked(url, directory / f"{name}-{rows}.lua", clients, seconds, service))
            found.append({"model": name, "rows": rows, "clients": clients, **compared(runs[1], runs[2])})
    return found


def compared(one: Sequence[Mapping[str, float]], two: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Compare turns with one scoring process and with two, by medians."""

    def middle(runs: Sequence[Mapping[str, float]], what: str) -> float:
        return statistics.median(run[what] for run in runs)

    found = {
        f"{name}_{what}": middle(runs, what)
        for name, runs in (("one", one), ("two", two))
        for what in ("rps", "p50_ms", "p99_ms", "service_cores", "wrk_cores", "busiest_share")
    }
    cost = {name: found[f"{name}_service_cores"] / found[f"{name}_rps"] for name in ("one", "two")}
    low, high = interval([run["rps"] for run in one], [run["rps"] for run in two])
    slow, slower = interval([run["p50_ms"] for run in one], [run["p50_ms"] for run in two])
    return {
        **found,
        "ratio": found["two_rps"] / found["one_rps"],
        "ratio_low": low,
        "ratio_high": high,
        "p50_ratio": found["two_p50_ms"] / found["one_p50_ms"],
        "p50_ratio_low": slow,
        "p50_ratio_high": slower,
        "cost_ratio": cost["two"] / cost["one"],
    }


def most(cell: Mapping[str, float], cores: int) -> float:
    """Say how many times one process's requests a second this machine has cores for, `wrk`'s part taken off."""
    return cores / (cell["one_service_cores"] + cell["one_wrk_cores"])


def verdict(cell: Mapping[str, float], cores: int) -> str:
    """Say whether two do as much more as is asked for, as far as this machine can tell."""
    if cell["ratio_low"] >= REQUIRED:
        return "met"
    if most(cell, cores) < REQUIRED:
        return "no two cores are free"
    return "not met" if cell["ratio_high"] < REQUIRED else "these turns cannot tell"


def report(cells: Sequence[Mapping[str, Any]], how: str, cores: int) -> str:
    """Write both tables."""
    rates = "\n".join(
        f"| ({cell['model']}) | {cell['rows']:,} | {cell['clients']} | "
        f"{cell['one_rps']:,.0f} | {cell['two_rps']:,.0f} | "
        f"{cell['ratio']:.2f} ({cell['ratio_low']:.2f} to {cell['ratio_high']:.2f}) | {most(cell, cores):.2f} | "
        f"{cell['one_service_cores']:.2f} + {cell['one_wrk_cores']:.2f} | "
        f"{cell['two_service_cores']:.2f} + {cell['two_wrk_cores']:.2f} | {cell['cost_ratio']:.2f} | "
        f"{cell['two_busiest_share']:.0%} | "
        f"{verdict(cell, cores)} |"
        for cell in cells
        if cell["clients"] > 1
    )
    latencies = "\n".join(
        f"| ({cell['model']}) | {cell['rows']:,} | {cell['one_p50_ms']:.3f} | {cell['two_p50_ms']:.3f} | "
        f"{cell['p50_ratio']:.2f} ({cell['p50_ratio_low']:.2f} to {cell['p50_ratio_high']:.2f}) | "
        f"{cell['one_p99_ms']:.2f} | {cell['two_p99_ms']:.2f} |"
        for cell in cells
        if cell["clients"] == 1
    )
    kinds = "\n".join(f"- ({name}) {what}" for name, what in MODELS.items())
    return f"""# Two scoring processes

{how}.

{kinds}

| model | rows | clients | one, requests/s | two | ratio | possible here | cores, one | two | cost | busiest | verdict |
|---|---|---|---|---|---|---|---|---|---|---|---|
{rates}

- **ratio**: of medians, with its 95 % interval. Required: ≥ {REQUIRED} where two cores are free.
- **possible here**: this machine's {cores} cores over those that one process's work and `wrk` take.
- **cores**: taken by the service, its model hosts included, + by `wrk`.
- **cost**: processor time of a request with two processes, over that with one: where it is 1, two processes do twice
  the work on cores that are free.
- **busiest**: part of the connections that led to the one of both processes which had more of them: with 100 % the
  other one has nothing to do.

One client:

| model | rows | p50 with one, ms | with two, ms | ratio | p99 with one, ms | with two, ms |
|---|---|---|---|---|---|---|
{latencies}
"""


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write the tables."""
    parser = command_line("workers", __doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    given = parser.parse_args(words)
    if shutil.which("wrk") is None:
        raise SystemExit("this needs wrk on PATH: as root, apt-get install wrk")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    before, cores = machine(), os.cpu_count() or 1
    cells = measure(given.rounds, given.seconds)
    how = f"Medians of {given.rounds} rounds of {given.seconds} s in turns ({before}, {load_after()})"
    keep(given.into, "workers", report(cells, how, cores), {"how": how, "cores": cores, "cells": cells})


if __name__ == "__main__":
    main()
