"""How long after a stage transition's answer does every scoring process answer by the new version; what clients see.

Starts a whole platform with `mlflow-ext up` and several scoring processes in a temporary directory (or uses the one
that runs on `--data-dir`), and flips Production between two loaded versions with the call that MLflow's UI makes, while
clients score at a steady rate. A third version is loaded all the time and must never answer.
"""

import signal
import statistics
import sys
import threading
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.findings import command_line, keep, load_after, machine
from benchmarks.servers import platform_running, set_stage
from benchmarks.steady import Answered, Client, split_body

MODEL = "flips"
PATH = f"/models/{MODEL}/invocations"
BODY = split_body({"a": 0.0, "b": 1.0})
VERSIONS = 3
REQUIRED_MS = 100.0
_TRIES = 400


@dataclass(frozen=True, slots=True)
class Flip:
    """A change of Production; times in seconds of `time.perf_counter`.

    Attributes:
        version: What is in Production from then on.
        called: When the transition was asked for.
        returned: When its answer was there.
    """

    version: int
    called: float
    returned: float


@dataclass
class Following:
    """A client, with all that it was answered.

    Attributes:
        worker: Process that its connection leads to.
        answers: What it was answered.
        changes: When it had the first answer of another version than before, and which.
    """

    client: Client
    worker: int
    answers: list[Answered] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)

    def run(self, rate: float, late: float, stop: threading.Event) -> None:
        """Ask at a rate until told to stop."""
        for answer in self.client.steadily(rate, lambda _: not stop.is_set(), late):
            self.answers.append(answer)
            if answer.version is not None and (not self.changes or self.changes[-1][1] != answer.version):
                self.changes.append((answer.ended, answer.version))


@dataclass(frozen=True, slots=True)
class Seen:
    """What was wrong with answers.

    Attributes:
        failed: Not answered with 200, or not with that version's prediction.
        foreign: By a version that was neither in Production nor there before, at any time of the request.
        back: By another version, after the client had an answer by the new one.
    """

    failed: int = 0
    foreign: int = 0
    back: int = 0


def judge(flips: Sequence[Flip], answers: Sequence[Answered]) -> Seen:
    """Look at all answers of one client, in order; the first flip is what was in Production before."""
    called = [flip.called for flip in flips]
    failed = foreign = back = 0
    reached = -1
    for one in answers:
        first, last = bisect_right(called, one.began) - 1, bisect_right(called, one.ended) - 1
        possible = {flip.version for flip in flips[max(0, first - 1) : last + 1]}
        if one.version is None or one.body != b'{"predictions": [%d.0]}' % one.version:
            failed += 1
        elif one.version not in possible:
            foreign += 1
        elif reached == last and one.version != flips[last].version:
            back += 1
        elif one.version == flips[last].version:
            reached = last
    return Seen(failed, foreign, back)


def register(mlflow_url: str) -> None:
    """Register versions that predict their own number."""
    import logging

    import mlflow
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(mlflow_url)
    rows = pd.DataFrame({"a": [0.0, 1.0], "b": [1.0, 0.5]})
    for version in range(1, VERSIONS + 1):
        model = LinearRegression().fit(rows, [float(version)] * 2)
        mlflow.sklearn.log_model(
            model, name="model", input_example=rows, registered_model_name=MODEL, pip_requirements=[]
        )


def workers_of(urls: Mapping[str, str]) -> list[psutil.Process]:
    """Give the platform's scoring processes."""
    family = psutil.Process(int(urls["pid"])).children(recursive=True)
    return [one for one in family if "serving.process" in one.cmdline()]


def peer_ports(process: psutil.Process) -> set[int]:
    """Give the ports from which others have connected to a process."""
    return {there.raddr.port for there in process.net_connections("tcp") if there.raddr}


def spread(urls: Mapping[str, str], headers: Mapping[str, str], count: int) -> list[Following]:
    """Open connections until every scoring process has as many of them as any other.

    Raises:
        SystemExit: Some process accepts none.
    """
    workers = workers_of(urls)
    each = max(1, count // len(workers))
    found: dict[int, list[Following]] = defaultdict(list)
    for _ in range(_TRIES):
        client = Client(urls["serving_url"], PATH, headers, BODY)
        client.ask()
        worker = next(one.pid for one in workers if client.port in peer_ports(one))
        if len(found[worker]) < each:
            found[worker].append(Following(client, worker))
        else:
            client.close()
        if sum(map(len, found.values())) == each * len(workers):
            # neighbours in time lead to different processes, so that each is asked at even intervals
            return [some[place] for place in range(each) for some in found.values()]
    raise SystemExit(f"{len(workers)} scoring processes accepted {[len(some) for some in found.values()]} connections")


def wait_for(following: Sequence[Following], version: int, since: Sequence[int]) -> dict[int, float]:
    """Wait until every client had an answer of a version; gives, by scoring process, when the first was there."""
    end = time.perf_counter() + 60
    first: dict[int, float] = {}
    for one, position in zip(following, since, strict=True):
        while (at := next((at for at, by in one.changes[position:] if by == version), None)) is None:
            if time.perf_counter() > end:
                raise SystemExit(f"version {version} did not answer within 60 s; last: {one.answers[-1:]}")
            time.sleep(0.002)
        first[one.worker] = min(at, first.get(one.worker, at))
    return first


def have_loaded(urls: Mapping[str, str], following: Sequence[Following]) -> None:
    """Bring version 1 to Production, and have the others loaded by every scoring process."""
    deadline = time.monotonic() + 120
    for version in (2, 3):
        set_stage(urls["mlflow_url"], MODEL, version, "Staging")
    for version in range(1, VERSIONS + 1):
        path = f"/models/{MODEL}/versions/{version}/invocations"
        for one in following:
            while one.client.ask(path=path).version != version:
                if time.monotonic() > deadline:
                    raise SystemExit(f"version {version} was not loaded by every scoring process within 120 s")
                time.sleep(0.1)


def measure(urls: Mapping[str, str], flips: int, count: int, rate: float, pause_s: float) -> dict[str, float]:
    """Flip and measure; times in milliseconds."""
    register(urls["mlflow_url"])
    headers = {"Content-Type": "application/json"}
    if urls["token"]:
        headers["Authorization"] = f"Bearer {urls['token']}"
    set_stage(urls["mlflow_url"], MODEL, 1)
    first = Client(urls["serving_url"], PATH, headers, BODY)
    # not there yet, or the token is not known yet
    while first.ask().version != 1:
        time.sleep(0.05)
    first.close()
    following = spread(urls, headers, count)
    have_loaded(urls, following)
    stop = threading.Event()
    threads = [
        threading.Thread(target=one.run, args=(rate / len(following), place / rate, stop))
        for place, one in enumerate(following)
    ]
    done = [Flip(1, time.perf_counter(), time.perf_counter())]
    every: list[float] = []
    last: list[float] = []
    for thread in threads:
        thread.start()
    try:
        wait_for(following, 1, [0] * len(following))
        began = time.perf_counter()
        for number in range(flips):
            version = 1 + (number + 1) % 2
            since = [len(one.changes) for one in following]
            called = time.perf_counter()
            set_stage(urls["mlflow_url"], MODEL, version)
            done.append(Flip(version, called, time.perf_counter()))
            found = [(at - done[-1].returned) * 1000 for at in wait_for(following, version, since).values()]
            every += found
            last.append(max(found))
            time.sleep(pause_s)
        took_s = time.perf_counter() - began
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    seen = [judge(done, one.answers) for one in following]
    answers = [answer for one in following for answer in one.answers]
    scored = [(answer.ended - answer.due) * 1000 for answer in answers]
    return {
        "flips": flips,
        "workers": len({one.worker for one in following}),
        "clients": len(following),
        "every_worker_p50_ms": statistics.median(last),
        "every_worker_p99_ms": statistics.quantiles(last, n=100, method="inclusive")[98],
        "every_worker_max_ms": max(last),
        "one_worker_p50_ms": statistics.median(every),
        "one_worker_p99_ms": statistics.quantiles(every, n=100, method="inclusive")[98],
        "requests": len(scored),
        "requests_per_s": sum(1 for one in answers if one.began > began) / took_s,
        "request_p50_ms": statistics.median(scored),
        "request_p99_ms": statistics.quantiles(scored, n=100)[98],
        "failed": sum(one.failed for one in seen),
        "foreign": sum(one.foreign for one in seen),
        "back": sum(one.back for one in seen),
    }


def report(found: Mapping[str, float], how: str) -> str:
    """Write the table."""
    workers, every_ms = found["workers"], 1000 * found["workers"] / found["requests_per_s"]
    first = f"first answer by the new version on every one of {workers:.0f} scoring processes, p99"
    rows = (
        (first, "every_worker_p99_ms", f"≤ {REQUIRED_MS:.0f} ms"),
        ("the same, median", "every_worker_p50_ms", ""),
        ("the same, greatest", "every_worker_max_ms", ""),
        ("on one scoring process, p99", "one_worker_p99_ms", ""),
        ("the same, median", "one_worker_p50_ms", ""),
        ("requests a second", "requests_per_s", "≥ 200"),
        ("latency of a request, p50", "request_p50_ms", ""),
        ("the same, p99", "request_p99_ms", ""),
        ("requests", "requests", ""),
        ("not answered, or wrongly", "failed", "0"),
        ("answered by a version neither in Production nor there before", "foreign", "0"),
        ("answered by the former version after the new one, same connection", "back", "0"),
    )
    lines = "\n".join(
        f"| {what} | {found[key]:,.1f} ms | {required} |"
        if key.endswith("_ms")
        else f"| {what} | {found[key]:,.0f} | {required} |"
        for what, key, required in rows
    )
    return f"""# Flips

{how}.

| {found["flips"]:.0f} flips | measured | required |
|---|---|---|
{lines}

Times count from the transition's answer; the versions were loaded before. Negative: before MLflow answered.
A scoring process was asked every {every_ms:.0f} ms, so times are exact to as much.
"""


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write the table."""
    arguments = command_line("flips", __doc__)
    arguments.add_argument("--flips", type=int, default=200)
    arguments.add_argument("--clients", type=int, default=8)
    arguments.add_argument("--workers", type=int, default=4, help="scoring processes")
    arguments.add_argument("--rate", type=float, default=400, help="requests a second of all clients together")
    arguments.add_argument("--pause-s", type=float, default=0.1, help="between two flips")
    arguments.add_argument("--data-dir", type=Path, help="of a platform that runs already")
    given = arguments.parse_args(words)
    # the platform that was started is stopped whatever ends this program
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    before = machine()
    with platform_running(given.data_dir, environment={"MLFLOW_EXT_SERVING_WORKERS": str(given.workers)}) as urls:
        found = measure(urls, given.flips, given.clients, given.rate, given.pause_s)
    how = f"{given.rate:g} requests/s of {found['clients']:.0f} clients, a connection each ({before}, {load_after()})"
    keep(given.into, "flips", report(found, how), {"how": how, **found})


if __name__ == "__main__":
    main()
