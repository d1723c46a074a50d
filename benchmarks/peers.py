"""Requests per second of MLServer, BentoML and Ray Serve beside ours and `mlflow models serve`, in one run.

Each serves the same scikit-learn models with one worker, in an environment of its own; `wrk` asks all of them the same
requests in turns. Ours logs predictions, counts and checks tokens meanwhile. How the others are started is in
`peer_servers.py`.
"""

import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from benchmarks.findings import command_line, machine
from benchmarks.peer_servers import PEERS, environment
from benchmarks.servers import (
    STARTS_WITHIN_S,
    ask,
    mlflow_models_serve,
    new_token,
    platform_running,
    process,
    scoring_service,
)
from benchmarks.serving import CELLS, MODELS, models, prepare

OURS, MLFLOW = "mlflow-ext", "MLflow"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mlflow-ext" / "peers"
_COLOURS = ("#2a78d6", "#8a8f98", "#d08a2e", "#5d9e5f", "#9a6fb0")


def measure(
    names: Sequence[str], rounds: int, seconds: int, cache: Path
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Measure every cell of the chosen models, everybody in turns; gives the cells, and who could not take part."""
    import joblib  # type: ignore[import-untyped]

    cells: list[dict[str, Any]] = []
    absent: dict[str, str] = {}
    binaries: dict[str, Path] = {}
    for peer in PEERS:
        try:
            binaries[peer.name] = environment(peer, cache)
        except (RuntimeError, OSError) as exc:
            absent[peer.name] = str(exc)
    with (
        tempfile.TemporaryDirectory(prefix="peers-") as scratch,
        platform_running(None) as urls,
        ExitStack() as stack,
    ):
        directory = Path(scratch)
        token = new_token(urls["database_url"])
        prepare(urls["mlflow_url"], token, directory, names)
        for name, model, _ in models():
            joblib.dump(model, directory / f"{name}.joblib")
        address, _ = stack.enter_context(scoring_service(urls, directory / "data"))
        for name in names:
            with ExitStack() as started:
                theirs, _ = started.enter_context(mlflow_models_serve(directory / name))
                asked = {
                    OURS: f"{address}/models/bench-{name}/invocations",
                    MLFLOW: f"{theirs}/invocations",
                }
                for peer in PEERS:
                    if peer.name not in binaries:
                        continue
                    own = directory / f"{name}-{peer.name.replace(' ', '-')}"
                    own.mkdir()
                    how = peer.start(binaries[peer.name], own, directory / name)
                    try:
                        started.enter_context(process(how.command, how.ready, how.environment, own / "log"))
                        same_answer(asked[OURS], how.url, directory / f"{name}-1.json", token)
                    except (SystemExit, httpx.HTTPError) as exc:
                        # without its command line, whose paths are this machine's
                        absent[f"{peer.name}, model ({name})"] = _why(exc, own / "log")
                        continue
                    asked[peer.name] = how.url
                for rows, clients in CELLS:
                    script = directory / f"{name}-{rows}.lua"
                    cell = _cell(asked, script, clients, rounds, seconds)
                    cells.append({"model": name, "rows": rows, "clients": clients, "servers": cell})
                    print(row(cells[-1]), flush=True)
    return cells, absent


def _why(exc: Exception | SystemExit, log: Path) -> str:
    """Say why a peer could not take part, without this machine's paths."""
    if "did not start" not in str(exc):
        return str(exc)[:200]
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    last = " ".join(word for word in (lines or ["nothing"])[-1].split() if "/" not in word)[:200]
    return f"it did not start within {STARTS_WITHIN_S} s; its last words: {last}"


def same_answer(ours: str, theirs: str, body: Path, token: str) -> None:
    """Make sure that a peer predicts what we predict.

    Raises:
        SystemExit: It does not.
    """
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    answers = [httpx.post(url, content=body.read_bytes(), headers=headers, timeout=60) for url in (ours, theirs)]
    if answers[1].status_code != 200 or answers[0].json()["predictions"] != answers[1].json()["predictions"]:
        raise SystemExit(f"answers with status {answers[1].status_code}: {answers[1].text[:100]}")


def _cell(asked: Mapping[str, str], script: Path, clients: int, rounds: int, seconds: int) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in asked}
    failed: dict[str, str] = {}
    for number in range(rounds):
        # nobody is always the first
        order = [*asked][number % len(asked) :] + [*asked][: number % len(asked)]
        for name in order:
            try:
                runs[name].append(ask(asked[name], script, clients, seconds))
            except SystemExit:
                failed[name] = "did not answer every request"
    found: dict[str, Any] = {}
    for name, some in runs.items():
        middle = {what: statistics.median(one[what] for one in some) for what in ("rps", "p99_ms")} if some else {}
        if name not in failed and not middle["rps"]:
            failed[name] = f"no answer within {seconds} s"
        found[name] = {"failed": failed[name]} if name in failed else middle
    return found


def header() -> str:
    """Write the table's head."""
    names = [OURS, MLFLOW, *(peer.name for peer in PEERS)]
    return f"| model | rows | clients | {' | '.join(names)} |\n|{'---|' * (3 + len(names))}"


def row(cell: Mapping[str, Any]) -> str:
    """Write one row: requests per second, how many times fewer than ours, p99."""
    servers = cell["servers"]
    ours = servers[OURS].get("rps")
    texts = []
    for name in (OURS, MLFLOW, *(peer.name for peer in PEERS)):
        one = servers.get(name)
        if one is None:
            texts.append("absent")
        elif "failed" in one:
            texts.append(one["failed"])
        else:
            ratio = f", 1/{ours / one['rps']:.1f}" if ours and name != OURS else ""
            texts.append(f"{one['rps']:,.0f}{ratio} ({one['p99_ms']:,.1f} ms)")
    return f"| ({cell['model']}) | {cell['rows']:,} | {cell['clients']} | {' | '.join(texts)} |"


def merged(into: Path, how: str, cells: Sequence[Mapping[str, Any]], absent: Mapping[str, str]) -> dict[str, Any]:
    """Put what was measured into what stands in `peers.json`: models that were measured now are replaced."""
    names = {cell["model"] for cell in cells}
    file = into / "peers.json"
    before: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {"how": {}, "cells": [], "absent": {}}
    kept = [cell for cell in before["cells"] if cell["model"] not in names]
    present = {name for cell in cells for name in cell["servers"]}
    theirs = {name: why for name, why in before["absent"].items() if name[-2:-1] not in names and name not in present}
    return {
        "how": dict(sorted({**before["how"], **dict.fromkeys(names, how)}.items())),
        "cells": sorted([*kept, *cells], key=lambda cell: str(cell["model"])),
        "absent": {**theirs, **absent},
    }


def write(into: Path, found: Mapping[str, Any]) -> None:
    """Write `peers.json`, `peers.md` and `peers.svg`."""
    into.mkdir(parents=True, exist_ok=True)
    (into / "peers.json").write_text(json.dumps(found, indent=2) + "\n")
    cells = found["cells"]
    kinds = "\n".join(f"- ({name}) {MODELS[name]}: {how}." for name, how in found["how"].items())
    setups = "\n".join(f"- **{peer.name}** {peer.how}." for peer in PEERS)
    missing = "\n".join(f"- **{name}** is absent: {why}." for name, why in found["absent"].items())
    table = "\n".join([header(), *map(row, cells)])
    (into / "peers.md").write_text(
        f"# Peers\n\nRequests per second, which part of ours that is, p99.\n\n"
        f"{kinds}\n\n{table}\n\n- **{OURS}**: prediction log, metrics, request ids and tokens on.\n"
        f"- **{MLFLOW}**: `mlflow models serve`.\n{setups}\n{missing}\n\n![Requests per second](peers.svg)\n"
    )
    _chart(into / "peers.svg", cells)


def _chart(path: Path, cells: Sequence[Mapping[str, Any]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    servers = (OURS, MLFLOW, *(peer.name for peer in PEERS))
    names = sorted({cell["model"] for cell in cells})
    figure, axes = plt.subplots(1, len(names), figsize=(4.6 * len(names), 3.8), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        own = [cell for cell in cells if cell["model"] == name]
        for place, (server, colour) in enumerate(zip(servers, _COLOURS, strict=True)):
            rates = [cell["servers"].get(server, {}).get("rps", float("nan")) for cell in own]
            axis.bar([at + (place - 2) * 0.16 for at in range(len(own))], rates, 0.15, label=server, color=colour)
        axis.set_xticks(range(len(own)), [f"{cell['rows']:,} by {cell['clients']}" for cell in own], fontsize=7)
        axis.set_yscale("log")
        axis.set_title(f"({name})", fontsize=10)
        axis.set_xlabel("rows by clients", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("requests/s", fontsize=8)
    axes[0][0].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print a table; write figures, table and chart."""
    parser = command_line("peers", __doc__)
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=sorted(MODELS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--cache", type=Path, default=CACHE, help="directory of the peers' environments")
    given = parser.parse_args(arguments)
    if shutil.which("wrk") is None:
        raise SystemExit("this needs wrk on PATH: as root, apt-get install wrk")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    how = f"one worker each, medians of {given.rounds} rounds of {given.seconds} s in turns ({machine()})"
    print(f"{how}\n\n{header()}", flush=True)
    cells, absent = measure(given.models, given.rounds, given.seconds, given.cache)
    write(given.into, merged(given.into, how, cells, absent))


if __name__ == "__main__":
    main()
