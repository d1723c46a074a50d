"""What loading a version costs, measured in a process of its own: `python -m mlflow_ext.registry.load_cost PARENT`.

It reads a JSON request from standard input (`directory`, `rows`, `loads`) and writes a JSON answer as the last line of
its output. The libraries are imported before anything is measured, so the figures are the model's own.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from mlflow_ext.errors import EvaluationImpossibleError, GateUnavailableError
from mlflow_ext.gate_context import LoadCost

_TIMEOUT_S = 300.0
_LOADS = 4
_TAIL = 500


def measure_load(directory: Path, rows: pd.DataFrame) -> LoadCost:
    """Load a version's files, judged before, in a child process, and let it answer rows.

    Args:
        directory: The files.
        rows: With the columns that the model takes.

    Raises:
        GateUnavailableError: The process was killed, or took too long.
        EvaluationImpossibleError: The version cannot be loaded, or cannot answer.
    """
    with tempfile.TemporaryDirectory(prefix="mlflow-ext-load-") as scratch:
        file = Path(scratch, "rows.parquet")
        rows.to_parquet(file, index=False)
        request = json.dumps({"directory": str(directory), "rows": str(file), "loads": _LOADS})
        try:
            done = subprocess.run(
                [sys.executable, "-m", __name__, str(os.getpid())],
                input=request.encode() + b"\n",
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise GateUnavailableError(f"loading it {_LOADS} times took longer than {_TIMEOUT_S:g} s") from exc
    if done.returncode < 0:
        raise GateUnavailableError(f"the process that loads it was ended by signal {-done.returncode}")
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    try:
        answer = json.loads(lines[-1])
        if "impossible" in answer:
            raise EvaluationImpossibleError(answer["impossible"])
        return LoadCost(**answer)
    except (IndexError, ValueError, TypeError) as exc:
        said = done.stderr.decode(errors="replace").strip()[-_TAIL:]
        raise EvaluationImpossibleError(f"the process that loads it ended with code {done.returncode}: {said}") from exc


def _measured(request: dict[str, object]) -> dict[str, object]:
    import gc
    import time
    from importlib import import_module

    for module in ("mlflow.pyfunc", "mlflow.sklearn", "skops.io", "sklearn.ensemble", "sklearn.pipeline"):
        import_module(module)
    from mlflow_ext.registry.loading import load_judged

    directory, rows = Path(str(request["directory"])), pd.read_parquet(str(request["rows"]))
    gc.collect()
    before = _resident()
    _forget_peak()
    times, first = [], None
    for _ in range(int(str(request["loads"]))):
        began = time.perf_counter()
        model = load_judged(directory)
        times.append(time.perf_counter() - began)
        if first is None:
            first = model
            model.predict(rows)
            # in this order: the peak is never below what was resident before it was asked for
            resident, peak = _resident(), _peak()
    # the first load imports what this model alone needs; a service that restarts pays for that once
    return {
        "first_s": times[0],
        "load_s": sorted(times[1:] or times)[len(times[1:] or times) // 2],
        "peak_bytes": max(0, peak - before),
        "resident_bytes": max(0, resident - before),
    }


def _status(word: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(word))
    return int(line.split()[1]) * 1024


def _peak() -> int:
    return _status("VmHWM:")


def _resident() -> int:
    return _status("VmRSS:")


def _forget_peak() -> None:
    """Let Linux count the peak from now on."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Answer one request."""
    from mlflow_ext.parent_death import die_with

    die_with(int(sys.argv[1]))
    request = json.loads(sys.stdin.readline())
    try:
        answer = _measured(request)
    # a model's own code raises whatever it likes, and this process is where that must end
    except Exception as exc:
        answer = {"impossible": f"it cannot be loaded anew: {type(exc).__name__}: {exc}"[:_TAIL]}
    print(json.dumps(answer), flush=True)  # noqa: T201  (the answer)


if __name__ == "__main__":
    main()
