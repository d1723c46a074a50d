"""What the prediction log costs: requests per second with and without it, 64 clients, as ratios of medians.

One scoring process a setting, all with the same compiled model and one row a request, none with a registry or database
behind it (`scoring_child.py`); `wrk` asks them in turns. Besides the rate, the processor time a request took in the
scoring process: on a machine that does other things as well it is the steadier figure.
"""

import json
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil

from benchmarks.findings import command_line, keep, machine
from benchmarks.servers import ask, free_port, process
from benchmarks.serving import models

CLIENTS = 64
MOST_COST = 0.10
"""Share of the throughput that the log may cost."""
OFF, MODES = "off", ("durable", "sampled", "private")


def prepare(directory: Path) -> Path:
    """Save the model, and write the request for `wrk`; gives the model's files."""
    import logging

    import mlflow
    from mlflow.models import infer_signature

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    _, model, rows = next(iter(models()))
    files = directory / "model"
    mlflow.sklearn.save_model(
        model, str(files), signature=infer_signature(rows, model.predict(rows)), pip_requirements=[]
    )
    body = directory / "body.json"
    body.write_text(json.dumps({"dataframe_split": rows.head(1).to_dict(orient="split", index=False)}))
    body.with_suffix(".lua").write_text(
        f'wrk.method = "POST"\nwrk.body = io.open("{body}", "rb"):read("*a")\n'
        'wrk.headers["Content-Type"] = "application/json"\n'
    )
    return files


def measure(rounds: int, seconds: int, modes: Sequence[str], **environment: str) -> dict[str, dict[str, float]]:
    """Measure every setting in turns.

    Args:
        rounds: How often.
        seconds: How long each time.
        modes: The settings, by the words of `scoring_child.py`.
        environment: Of the scoring processes.

    Returns:
        Medians by setting: requests per second, 99th percentile of the latency, processor time a request.
    """
    runs: dict[str, list[dict[str, float]]] = {mode: [] for mode in modes}
    with tempfile.TemporaryDirectory(prefix="prediction-log-") as scratch, ExitStack() as stack:
        directory = Path(scratch)
        files = prepare(directory)
        urls: dict[str, str] = {}
        servers: dict[str, psutil.Process] = {}
        for mode in runs:
            port = free_port()
            counters = directory / f"{mode}-counters"
            counters.mkdir()
            command = [sys.executable, "-m", "benchmarks.scoring_child", mode, str(files), str(directory / mode)]
            urls[mode] = f"http://127.0.0.1:{port}"
            servers[mode] = stack.enter_context(
                # counters in files, as `mlflow-ext serve` has them
                process(
                    [*command, str(port)],
                    f"{urls[mode]}/readyz",
                    {"PROMETHEUS_MULTIPROC_DIR": str(counters), **environment},
                )
            )
        script = directory / "body.lua"
        for mode in runs:
            ask(f"{urls[mode]}/models/bench/invocations", script, CLIENTS, 1)
        for number in range(rounds):
            # no setting is always the first after a pause
            order = [*runs][number % len(runs) :] + [*runs][: number % len(runs)]
            for mode in order:
                before = sum(servers[mode].cpu_times()[:2])
                one = ask(f"{urls[mode]}/models/bench/invocations", script, CLIENTS, seconds)
                one["cpu_us"] = (sum(servers[mode].cpu_times()[:2]) - before) / (one["rps"] * seconds) * 1e6
                runs[mode].append(one)
                # no compactor takes them away here
                for path in sorted((directory / mode / "spool").glob("*.spool"))[:-1]:
                    path.unlink()
    return {
        mode: {what: statistics.median(one[what] for one in some) for what in some[0]} for mode, some in runs.items()
    }


def report(found: Mapping[str, Mapping[str, float]], how: str) -> str:
    """Write the table."""
    lines = [
        "| log | requests/s | of those without | p99 ms | CPU µs a request | of that without |",
        "|---|---|---|---|---|---|",
    ]
    off = found[OFF]
    for mode, one in found.items():
        lines.append(
            f"| {mode} | {one['rps']:,.0f} | {one['rps'] / off['rps']:.1%} | {one['p99_ms']:.1f} | "
            f"{one['cpu_us']:.1f} | {one['cpu_us'] / off['cpu_us']:.1%} |"
        )
    table = "\n".join(lines)
    return f"""# Prediction log

{how}.

{table}

- **durable**: every prediction; **sampled**: a tenth; **private**: every prediction, one column dropped, one hashed.
- Required: `durable` costs at most {MOST_COST:.0%} of the throughput.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write the table."""
    parser = command_line("prediction-log", __doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if shutil.which("wrk") is None:
        raise SystemExit("this needs wrk on PATH: as root, apt-get install wrk")
    before = machine()
    found = measure(given.rounds, given.seconds, (OFF, *MODES))
    how = (
        f"LogisticRegression, 30 float columns, one row a request, {CLIENTS} clients, one worker each, medians of "
        f"{given.rounds} rounds of {given.seconds} s in turns ({before})"
    )
    text = report(found, how)
    keep(given.into, "prediction_log", text, {"how": how, "required_cost": MOST_COST, "modes": found})


if __name__ == "__main__":
    main()
