"""Has a twin made in a process of its own: started, bounded in time, and read here. What it does is in `process.py`."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from mlflow_ext.domain.twins import TwinFacts, TwinRefusedError

_MODULE = "mlflow_ext.registry.twins.process"
_NEEDED = ("onnx", "onnxruntime", "skl2onnx")
TIMEOUT_S = 120.0


def check_installed() -> None:
    """Make sure that twins can be made and run here.

    Raises:
        TwinRefusedError: The packages are missing.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise TwinRefusedError(f"{', '.join(missing)} not installed: pip install 'mlflow-ext[onnx]'")


def make_apart(model: Path, tolerance: float, timeout_s: float = TIMEOUT_S) -> bytes:
    """Make a twin of a model's judged files; gives the ONNX graph.

    Args:
        model: Directory that `artifacts.fetch` gave.
        tolerance: As for `making.make_twin`.
        timeout_s: Seconds after which the process is ended.

    Raises:
        TwinRefusedError: There is none; the message says why.
    """
    # nobody else can write there, so what is read is what was made
    with tempfile.TemporaryDirectory(prefix="mlflow-ext-twin-") as scratch:
        into = Path(scratch)
        request = {"model": str(model), "into": scratch, "tolerance": tolerance}
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", _MODULE, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
            # a model's code has no business with our settings, the database's password among them
            env={key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_EXT_")},
        )
        try:
            child.communicate(json.dumps(request).encode() + b"\n", timeout_s)
        except subprocess.TimeoutExpired:
            raise TwinRefusedError(f"converting it took longer than {timeout_s:g} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        answer = into / "answer.json"
        if not answer.is_file():
            raise TwinRefusedError(f"the converting process ended with code {child.returncode} and no answer")
        document = json.loads(answer.read_text(encoding="utf-8"))
        if "refused" in document:
            raise TwinRefusedError(document["refused"])
        content = (into / "twin.onnx").read_bytes()
        TwinFacts(**document["facts"]).check(content)
        return content
