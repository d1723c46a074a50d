"""What a drift check costs beside Evidently's DataDriftPreset: CPU time and peak memory of processes of their own.

CPU time is user and system, without imports; memory is the whole process's peak. The error rates are in
`drift_calibration.py`.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.drift_data import write
from benchmarks.findings import command_line, keep, machine

SIZES = [(1_000_000, 20), (100_000, 200), (5_000_000, 20), (20_000_000, 20)]
REFERENCE_ROWS = 20_000
MOST_ROWS = 5_000_000
"""Evidently holds both frames in memory: beyond this it is not asked."""
LEAST_RATIO, MOST_DECODES = 150, 4


def child(what: str, reference: Path, window: Path) -> dict[str, Any]:
    """Measure one process."""
    command = [sys.executable, "-m", "benchmarks.drift_child", what, str(reference), str(window)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{what} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def measure(
    rounds: int, sizes: Sequence[tuple[int, int]], kept: Mapping[tuple[int, int], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Measure every size: the engine and decoding in turns, Evidently once, where an earlier run has not."""
    found = []
    for rows, count in sizes:
        with tempfile.TemporaryDirectory(prefix="drift-") as scratch:
            reference, window = Path(scratch, "reference.parquet"), Path(scratch, "window.parquet")
            write(reference, [1, rows, count], REFERENCE_ROWS, count)
            write(window, [2, rows, count], rows, count)
            one: dict[str, Any] = {"rows": rows, "columns": count}
            one["profile"] = child("profile", reference, window)
            runs: dict[str, list[dict[str, Any]]] = {"engine": [], "decode": []}
            for _ in range(rounds):
                for what, mine in runs.items():
                    mine.append(child(what, reference, window))
            for what, mine in runs.items():
                one[what] = {key: statistics.median(run[key] for run in mine) for key in ("cpu_s", "peak_mb")}
            # no drift was put in: what else is said would be false
            assert runs["engine"][0]["found"] == "ok"
            if rows <= MOST_ROWS:
                one["evidently"] = kept.get((rows, count)) or child("evidently", reference, window)
            found.append(one)
            print(json.dumps(one), flush=True)
    return found


def report(found: Sequence[dict[str, Any]], how: str) -> str:
    """Write the table."""
    lines = [
        "| rows x columns | engine CPU-s | MB | Evidently CPU-s | MB | ratio | decoding CPU-s | engine / decoding |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        own, other = one["engine"], one.get("evidently")
        theirs = (
            f"{other['cpu_s']:.1f} | {other['peak_mb']:,.0f} | {other['cpu_s'] / own['cpu_s']:,.0f}" if other else "| |"
        )
        lines.append(
            f"| {one['rows']:,} x {one['columns']} | {own['cpu_s']:.3f} | {own['peak_mb']:,.0f} | {theirs} | "
            f"{one['decode']['cpu_s']:.3f} | {own['cpu_s'] / one['decode']['cpu_s']:.1f} |"
        )
    table = "\n".join(lines)
    profiles = ", ".join(f"{one['profile']['cpu_s']:.2f} CPU-s at {one['columns']} columns" for one in found[:2])
    return f"""# Cost of a drift check

{how}.

{table}

- **engine**: load the stored profile of a reference of {REFERENCE_ROWS:,} rows, count the window's Parquet file in one
  pass, all methods, verdict. Making the profile, once per version: {profiles}.
- **Evidently**: DataDriftPreset on both files read as data frames.
- **decoding**: PyArrow reads the same columns of the window and keeps nothing.
- Required: at least {LEAST_RATIO} times less CPU than Evidently, at most {MOST_DECODES} times that of decoding;
  1 M x 20 in 400 MB, 100 k x 200 in 500 MB, 20 M x 20 in the memory of 5 M x 20.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write the table."""
    parser = command_line("drift", __doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--sizes", nargs="*", default=[f"{rows}x{count}" for rows, count in SIZES], metavar="ROWSxCOLUMNS"
    )
    parser.add_argument(
        "--keep", type=Path, help="results of a run whose figures of Evidently are to stay: it takes long"
    )
    given = parser.parse_args(arguments)
    sizes = [(int(rows), int(count)) for rows, count in (one.split("x") for one in given.sizes)]
    how = (
        "CPU time (user and system, imports excluded) and peak of the process's memory; "
        f"medians of {given.rounds} runs, Evidently {version('evidently')} once "
        f"({machine()}, PyArrow {version('pyarrow')}, NumPy {version('numpy')})"
    )
    before = json.loads(given.keep.read_text())["sizes"] if given.keep else []
    kept = {(one["rows"], one["columns"]): one["evidently"] for one in before if "evidently" in one}
    if kept:
        how += "; Evidently's figures from an earlier run on this machine"
    found = measure(given.rounds, sizes, kept)
    text = report(found, how)
    keep(given.into, "drift", text, {"how": how, "sizes": found})


if __name__ == "__main__":
    main()
