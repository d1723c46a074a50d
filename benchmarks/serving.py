"""Requests per second and latency of `mlflow-ext serve` beside `mlflow models serve`, in one run, as ratios of medians.

Both serve the same model files with one worker each; `wrk` asks with keep-alive. Prediction log, metrics, request ids
and tokens are on. A third server, an ASGI application that reads the body and returns a constant, shows what the web
server alone can do.
"""

import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks import memory
from benchmarks.findings import command_line, machine
from benchmarks.servers import (
    STARTS_WITHIN_S,
    ask,
    free_port,
    mlflow_models_serve,
    new_token,
    platform_running,
    process,
    scoring_service,
    set_stage,
)
from benchmarks.serving_report import HEADER, row, write

MODELS = {
    "a": "LogisticRegression, 30 float columns",
    "b": "RandomForest, 100 trees, 30 float columns",
    "c": "Pipeline with ColumnTransformer, 9 numeric and 2 categorical columns",
}
CELLS = ((1, 1), (1, 8), (1, 64), (100, 8), (10_000, 1))
"""Rows of a request, clients."""
REQUIRED = {"a": (35, 120, 180, 40, 14), "b": (50, 120, 200, 18, 5), "c": (40, 120, 200, 35, 4)}
"""Ratios that are asked for, by model, in the order of `CELLS`."""
CONSTANT = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    await send(start)
    await send({"type": "http.response.body", "body": b"ok"})
"""


def models() -> Iterator[tuple[str, Any, Any]]:
    """Fit the models; gives name, model and rows."""
    import numpy as np
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    cells, ill = load_breast_cancer(return_X_y=True, as_frame=True)
    yield "a", LogisticRegression(max_iter=10_000).fit(cells, ill), cells
    yield "b", RandomForestClassifier(100, random_state=0).fit(cells, ill), cells
    random = np.random.default_rng(0)
    rows = 2_000
    numbers = [f"number_{place}" for place in range(9)]
    table = pd.DataFrame({name: random.normal(size=rows) for name in numbers})
    table["kind"] = random.choice(list("abcdefgh"), rows)
    table["place"] = random.choice(["north", "south", "east", "west"], rows)
    target = (table.number_0 + (table.kind == "a") - (table.place == "north") + random.normal(size=rows) > 0).astype(
        int
    )
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), numbers),
            ("kinds", OneHotEncoder(handle_unknown="ignore"), ["kind", "place"]),
        ]
    )
    yield "c", make_pipeline(columns, LogisticRegression()).fit(table, target), table


def prepare(mlflow_url: str, token: str, directory: Path, names: Sequence[str] = tuple(MODELS)) -> None:
    """Register models, put them into Production, keep their files, and write the requests for `wrk`."""
    import logging

    import mlflow
    import pandas as pd
    from mlflow.models import infer_signature

    from mlflow_ext.registry.trusted_types import TRUSTED_TYPES

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    mlflow.set_tracking_uri(mlflow_url)
    for name, model, rows in models():
        if name not in names:
            continue
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(rows, model.predict(rows)),
            skops_trusted_types=TRUSTED_TYPES,
            registered_model_name=f"bench-{name}",
            pip_requirements=[],
        )
        kept = mlflow.artifacts.download_artifacts(logged.model_uri, dst_path=str(directory / f"{name}-files"))
        Path(kept).rename(directory / name)
        set_stage(mlflow_url, f"bench-{name}", 1)
        for count in sorted({count for count, _ in CELLS}):
            some = pd.concat([rows] * (count // len(rows) + 1)).head(count)
            body = directory / f"{name}-{count}.json"
            body.write_text(json.dumps({"dataframe_split": some.to_dict(orient="split", index=False)}))
            body.with_suffix(".lua").write_text(
                f'wrk.method = "POST"\nwrk.body = io.open("{body}", "rb"):read("*a")\n'
                'wrk.headers["Content-Type"] = "application/json"\n'
                f'wrk.headers["Authorization"] = "Bearer {token}"\n'
            )


def same_answers(ours: str, theirs: str, body: Path, token: str) -> None:
    """End the benchmark unless both give the same answer, and ours to nobody without a token."""
    headers = {"Content-Type": "application/json"}
    if httpx.post(ours, content=body.read_bytes(), headers=headers, timeout=60).status_code != 401:
        raise SystemExit("the service answers without a token")
    headers["Authorization"] = f"Bearer {token}"
    answers = [httpx.post(url, content=body.read_bytes(), headers=headers, timeout=60) for url in (ours, theirs)]
    if answers[0].status_code != 200 or answers[0].json() != answers[1].json():
        raise SystemExit(f"the answers to {body.name} differ: {answers[0].text[:200]} and {answers[1].text[:200]}")


def wait_loaded(url: str, body: Path, token: str) -> None:
    """Wait until a model answers that the registry has just got."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    until = time.monotonic() + STARTS_WITHIN_S
    while httpx.post(url, content=body.read_bytes(), headers=headers, timeout=60).status_code != 200:
        if time.monotonic() > until:
            raise SystemExit(f"{url} does not answer")
        time.sleep(0.2)


def memory_with(name: str, service: psutil.Process, url: str, directory: Path, seconds: int) -> dict[str, Any]:
    """Measure the memory of a service that has one model, and of MLflow's server with it, after some load on both."""
    script = directory / f"{name}-1.lua"
    with mlflow_models_serve(directory / name) as (peer, theirs):
        ask(url, script, 64, seconds)
        ask(f"{peer}/invocations", script, 8, seconds)
        return {"model": name, "service": memory.of_service(service), "mlflow": memory.of_family(theirs)}


def measure(
    names: Sequence[str], rounds: int, seconds: int, tell: Callable[[dict[str, Any]], None]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measure every cell of the chosen models, our server and MLflow's in turns; before that the memory with (a)."""
    found: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="serving-") as scratch,
        platform_running(None) as urls,
        ExitStack() as stack,
    ):
        directory = Path(scratch)
        token = new_token(urls["database_url"])
        prepare(urls["mlflow_url"], token, directory, ["a"])
        address, service = stack.enter_context(scoring_service(urls, directory / "data"))
        taken = memory_with("a", service, f"{address}/models/bench-a/invocations", directory, seconds)
        others = [name for name in names if name != "a"]
        prepare(urls["mlflow_url"], token, directory, others)
        for name in others:
            wait_loaded(f"{address}/models/bench-{name}/invocations", directory / f"{name}-1.json", token)
        (directory / "constant.py").write_text(CONSTANT)
        constant = free_port()
        uvicorn = [sys.executable, "-m", "uvicorn", "--app-dir", scratch, "--loop", "uvloop", "--no-access-log"]
        stack.enter_context(
            process([*uvicorn, "constant:app", "--port", str(constant)], f"http://127.0.0.1:{constant}/")
        )
        for name in names:
            ours = f"{address}/models/bench-{name}/invocations"
            with mlflow_models_serve(directory / name) as (peer, _):
                theirs = f"{peer}/invocations"
                for (rows, clients), required in zip(CELLS, REQUIRED[name], strict=True):
                    body = directory / f"{name}-{rows}.json"
                    same_answers(ours, theirs, body, token)
                    script = body.with_suffix(".lua")
                    runs: dict[str, list[dict[str, float]]] = {"ours": [], "mlflow": [], "constant": []}
                    for _ in range(rounds):
                        runs["ours"].append(ask(ours, script, clients, seconds))
                        runs["mlflow"].append(ask(theirs, script, clients, seconds))
                        runs["constant"].append(ask(f"http://127.0.0.1:{constant}/", script, clients, seconds))
                    cell = {"model": name, "rows": rows, "clients": clients, "required": required, **_medians(runs)}
                    cell["resident_mb"] = round(memory.scoring_process(service).memory_info().rss / 1e6, 1)
                    found.append(cell)
                    tell(cell)
    return found, taken


def _medians(runs: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    middle = {
        f"{who}_{what}": statistics.median(one[what] for one in some)
        for who, some in runs.items()
        for what in ("rps", "p99_ms")
    }
    return {
        **middle,
        "ratio": middle["ours_rps"] / middle["mlflow_rps"],
        "p99_ratio": middle["mlflow_p99_ms"] / middle["ours_p99_ms"],
        "of_constant": middle["ours_rps"] / middle["constant_rps"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print a table; write figures, table and chart."""
    parser = command_line("serving", __doc__)
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=sorted(MODELS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    given = parser.parse_args(arguments)
    if shutil.which("wrk") is None:
        raise SystemExit("this needs wrk on PATH: as root, apt-get install wrk")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    how = f"One worker each, medians of {given.rounds} rounds of {given.seconds} s in turns ({machine()})"
    print(f"{how}\n\n{HEADER}", flush=True)
    cells, taken = measure(given.models, given.rounds, given.seconds, lambda cell: print(row(cell), flush=True))
    write(given.into, how, MODELS, cells, taken)


if __name__ == "__main__":
    main()
