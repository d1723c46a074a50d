"""Do clients of one version feel it when another is loaded? Latencies in turns with and without loads going on.

Starts a whole platform with `mlflow-ext up` and one scoring process, scores a small model at a steady rate, and in some
turns has a pipeline and a forest loaded and dropped again and again, by setting and taking away their Staging marks, in
others a forest that takes several times as long: there it is the load that is felt, not the marks around it. A change
of a mark costs something itself, in MLflow, in PostgreSQL and in every part of ours that looks at the registry: so in
other turns marks change as often that load nothing. Whoever waits for a load asks the service how far it is, and asks
as often in all turns. All turns see the same machine, so ratios mean something where it is busy, too.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from benchmarks.findings import command_line, keep, load_after, machine
from benchmarks.servers import platform_running, set_stage
from benchmarks.steady import Client, Turn, ask_from_elsewhere, figures, score, split_body, table
from mlflow_ext.giving_way import give_way

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

SMALL, LARGE = "loading-small", "loading-large"
TREES, MANY_TREES = 200, 1_000
KINDS = {
    1: "a pipeline with a ColumnTransformer",
    2: f"a random forest of {TREES} trees",
    3: f"a random forest of {MANY_TREES:,} trees",
}
"""What the versions of the large model are."""
LOADED = {"loads": (1, 2), "long loads": (3,)}
"""What is loaded in which turns."""
TURNS = ("quiet", "marks", "loads", "long loads", "long loads", "loads", "marks", "quiet")
"""In an order in which what changes slowly falls on all alike."""
ROWS, COLUMNS = 10_000, 20
REQUIRED = 1.5
_LOADED_WITHIN_S = 300.0
_LOOK_S = 0.25


class Loads:
    """Loads of the large model's versions, one after the other for as long as they are wanted."""

    def __init__(self, urls: Mapping[str, str], headers: Mapping[str, str]) -> None:
        """Take the platform and what each request carries."""
        self._mlflow_url = urls["mlflow_url"]
        self._client = httpx.Client(base_url=urls["serving_url"], headers=dict(headers), timeout=60)

    def once(self, version: int) -> float:
        """Have a version loaded, and dropped; gives how long the load took, in seconds."""
        began = time.perf_counter()
        set_stage(self._mlflow_url, LARGE, version, "Staging")
        self._wait(version, loaded=True)
        took_s = time.perf_counter() - began
        set_stage(self._mlflow_url, LARGE, version, "None")
        self._wait(version, loaded=False)
        return took_s

    def mark(self, version: int, pause_s: float) -> None:
        """Move marks as often as a load would that takes so long, and load nothing."""
        for stage in ("Archived", "None"):
            set_stage(self._mlflow_url, LARGE, version, stage)
            self.look(pause_s if stage == "Archived" else _LOOK_S)

    def look(self, seconds: float) -> None:
        """Ask as often as somebody who waits for a load, which costs the service something itself."""
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            self._told()
            time.sleep(min(_LOOK_S, left_s))

    def _wait(self, version: int, *, loaded: bool) -> None:
        deadline = time.monotonic() + _LOADED_WITHIN_S
        while (version in self._loaded()) is not loaded:
            if time.monotonic() > deadline:
                raise SystemExit(f"waited {_LOADED_WITHIN_S:.0f} s for version {version}: {self._told()}")
            time.sleep(_LOOK_S)

    def _loaded(self) -> set[int]:
        return {one["version"] for one in self._told().get("loaded", ())}

    def _told(self) -> Mapping[str, Sequence[Mapping[str, int]]]:
        found: Mapping[str, Sequence[Mapping[str, int]]] = self._client.get(f"/models/{LARGE}").json()
        return found


def change_again(urls: Mapping[str, str], headers: Mapping[str, str], told: "Connection") -> None:
    """Do what is told (`TURNS`), again and again until told to rest; then say how long loads took."""
    # as whoever moves marks on another machine
    os.setsid()
    give_way(os.getpid(), 10)
    loads = Loads(urls, headers)
    usual_s = {version: loads.once(version) for version in KINDS}
    told.send("ready")
    while (wanted := told.recv()) in TURNS:
        took_s: list[tuple[int, float]] = []
        while not told.poll():
            for version in LOADED.get(wanted, LOADED["loads"]):
                if wanted in LOADED:
                    took_s.append((version, loads.once(version)))
                elif wanted == "marks":
                    loads.mark(version, usual_s[version])
                else:
                    loads.look(usual_s[version])
        told.recv()
        told.send(took_s)


class Changing:
    """The changes, in a process of their own: a client in Python would feel them as its own work."""

    def __init__(self, urls: Mapping[str, str], headers: Mapping[str, str]) -> None:
        """Take the platform and what each request carries; waits until each version was loaded once."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=change_again, args=(dict(urls), dict(headers), theirs), daemon=True)
        self._process.start()
        theirs.close()
        # files are fetched here: what comes later is loading alone
        self._pipe.recv()
        self.took_s: dict[int, list[float]] = {version: [] for version in KINDS}

    @contextmanager
    def running(self, kind: str) -> Iterator[None]:
        """Let that go on while the block runs; waits for the last one's end."""
        self._pipe.send(kind)
        yield
        self._pipe.send("rest")
        for version, took_s in self._pipe.recv():
            self.took_s[version].append(took_s)

    def close(self) -> None:
        """End the process."""
        self._pipe.send("end")
        self._process.join()


def register(mlflow_url: str) -> str:
    """Register the models; gives the body of a request to the small one."""
    import logging

    import mlflow
    import numpy as np
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    from mlflow_ext.registry.trusted_types import TRUSTED_TYPES

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    mlflow.set_tracking_uri(mlflow_url)
    random = np.random.default_rng(0)
    names = [f"x{number}" for number in range(COLUMNS)]
    rows = pd.DataFrame(random.normal(size=(ROWS, COLUMNS)), columns=names)
    # noise makes deep trees
    target = (rows.x0 + random.normal(size=ROWS) > 0).astype(int)
    kinds = rows.assign(kind=random.choice(list("abcdefgh"), ROWS))
    columns = ColumnTransformer([("numbers", StandardScaler(), names), ("kinds", OneHotEncoder(), ["kind"])])
    for model, seen, name in (
        (LogisticRegression(), rows, SMALL),
        (make_pipeline(columns, LogisticRegression()), kinds, LARGE),
        *((RandomForestClassifier(trees, random_state=0, n_jobs=-1), rows, LARGE) for trees in (TREES, MANY_TREES)),
    ):
        mlflow.sklearn.log_model(
            model.fit(seen, target),
            name="model",
            input_example=seen.head(2),
            skops_trusted_types=TRUSTED_TYPES,
            registered_model_name=name,
            pip_requirements=[],
        )
    return split_body({str(name): float(value) for name, value in rows.iloc[0].items()})


def measure(
    urls: Mapping[str, str], rounds: int, rate: float, seconds: float
) -> tuple[dict[str, list[Turn]], dict[int, list[float]], str]:
    """Take turns of each kind; gives them, how long each load took, in seconds, and how was asked."""
    body = register(urls["mlflow_url"])
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {urls['token']}"}
    set_stage(urls["mlflow_url"], SMALL, 1)
    client = Client(urls["serving_url"], f"/models/{SMALL}/invocations", headers, body)
    while client.ask().version is None:
        time.sleep(0.1)
    changing = Changing(urls, headers)
    how = ask_from_elsewhere()
    score(client, rate, 2)
    found: dict[str, list[Turn]] = {kind: [] for kind in TURNS}
    for kind in TURNS * rounds:
        with changing.running(kind):
            found[kind].append(Turn(kind in LOADED, *score(client, rate, seconds)))
    changing.close()
    client.close()
    return found, changing.took_s, how


def report(
    found: Mapping[tuple[str, str], Mapping[str, float]], took_s: Mapping[int, Sequence[float]], how: str
) -> str:
    """Write the tables."""
    loads = "\n".join(
        f"- {kind}: loaded {len(took_s[version])} times, in {min(took_s[version]):.1f} to {max(took_s[version]):.1f} s"
        for version, kind in KINDS.items()
        if took_s[version]
    )
    tables = "\n".join(
        f"Turns with {kind}, beside {'quiet ones' if other == 'quiet' else 'turns with marks'} "
        f"({one['requests']:,.0f} requests, {one['lost']:.0f} lost):\n\n{table(one, 'others are loaded', REQUIRED)}"
        for (kind, other), one in found.items()
    )
    return f"""# Scoring while other versions are loaded

{how}.
A logistic regression of {COLUMNS} columns is scored; the forests are fitted to {ROWS:,} rows. Whoever waits for a load
asks the service how far it is, and asks as often in all turns. In turns with marks these change as often as with loads,
and nothing is loaded.

{loads}

{tables}"""


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write the table."""
    parser = command_line("loading", __doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of two turns of each kind")
    parser.add_argument("--seconds", type=float, default=15, help="a turn takes")
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    given = parser.parse_args(words)
    # the platform that was started is stopped whatever ends this program
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    before = machine()
    with platform_running(None, ("score", "read")) as urls:
        turns, took_s, asked = measure(urls, given.rounds, given.rate, given.seconds)
    times = 2 * given.rounds
    how = f"{times} turns of each kind, {given.seconds:g} s each, {given.rate:g} requests/s, {asked}"
    how += f" ({before}, {load_after()})"
    pairs = [*((kind, "quiet") for kind in LOADED), ("loads", "marks")]
    found = {(kind, other): figures([*turns[other], *turns[kind]]) for kind, other in pairs}
    kept = {f"{kind} beside {other}": one for (kind, other), one in found.items()}
    keep(given.into, "loading", report(found, took_s, how), {"how": how, **kept, "loads_s": took_s})


if __name__ == "__main__":
    main()
