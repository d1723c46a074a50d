"""The `Evaluator` port: starts the evaluation process, bounds it in time, and reads its answer.

What is measured is in `evaluation.py`, the process's own code; nothing of a model is loaded here.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow_ext.domain.gates import GateReport
from mlflow_ext.domain.promotion import Promotion
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import (
    ConflictError,
    EvaluationCrashedError,
    EvaluationImpossibleError,
    MissingEvidenceError,
    UnavailableError,
)
from mlflow_ext.gate_context import RequestLog
from mlflow_ext.giving_way import give_way
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.ports import Pins
from mlflow_ext.registry.requests_file import write_requests

_log = logging.getLogger(__name__)

_MODULE = "mlflow_ext.registry.evaluation"
_LOOK_S = 0.05
_TAIL_BYTES = 2_000


class ProcessEvaluator:
    """Evaluates in a child process, with MLflow reached over HTTP."""

    def __init__(self, mlflow_url: str, models: Path, pins: Pins, requests: RequestLog, niceness: int = 0) -> None:
        """Take MLflow's address, the directory of model files, what was pinned, logged requests, and the niceness."""
        self._pins = pins
        self._requests = requests
        self._mlflow_url = mlflow_url
        self._models = models
        self._niceness = niceness

    def evaluate(
        self,
        promotion: Promotion,
        candidate: ModelVersion,
        champion: ModelVersion | None,
        policy: ModelPolicy,
        cancelled: Callable[[], bool],
    ) -> GateReport:
        """Measure both versions on the same rows, and judge."""
        with tempfile.TemporaryDirectory(prefix="mlflow-ext-evaluation-") as scratch:
            answer = Path(scratch, "answer.json")
            output = Path(scratch, "output.log")
            request = {
                "answer": str(answer),
                "mlflow_url": self._mlflow_url,
                "models": str(self._models),
                "promotion_id": promotion.id,
                "dry_run": promotion.dry_run,
                "source": promotion.source,
                "requested_by": promotion.requested_by,
                "attempt": promotion.attempt,
                "candidate": _document(candidate),
                "champion": _document(champion) if champion else None,
                "champion_files": self._pinned(champion),
                "policy": policy.model_dump(mode="json"),
                "requests": self._logged(candidate.model, policy, Path(scratch)),
            }
            code = self._run(request, output, policy.evaluation.timeout_s, cancelled)
            if not answer.is_file():
                raise EvaluationCrashedError(f"the evaluation process {_ending(code)}{_tail(output)}")
            return _report(json.loads(answer.read_text(encoding="utf-8")))

    def _pinned(self, version: ModelVersion | None) -> list[list[Any]] | None:
        files = self._pins.manifest(version.model, version.version) if version else None
        return files.as_list() if files else None

    def _logged(self, model: str, policy: ModelPolicy, into: Path) -> dict[str, str]:
        """Export what clients sent: the evaluation process has no way to the log."""
        rows = max((section.requests_wanted for section in policy.gates), default=0)
        if not rows:
            return {"missing": "no gate of the policy asks for logged requests"}
        try:
            return write_requests(self._requests.newest(model, rows), into)
        except MissingEvidenceError as exc:
            return {"missing": str(exc)}

    def _run(self, request: dict[str, Any], output: Path, timeout_s: float, cancelled: Callable[[], bool]) -> int:
        with output.open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", _MODULE, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment(),
            )
        give_way(child.pid, self._niceness)
        _log.info("evaluation_started promotion=%s pid=%s", request["promotion_id"], child.pid)
        end = time.monotonic() + timeout_s
        try:
            assert child.stdin is not None  # noqa: S101  (asked for above; tells the type checker)
            with child.stdin as stdin:
                stdin.write(json.dumps(request).encode() + b"\n")
            while True:
                try:
                    return child.wait(_LOOK_S)
                except subprocess.TimeoutExpired:
                    if cancelled():
                        raise ConflictError("the evaluation was cancelled") from None
                    if time.monotonic() > end:
                        raise EvaluationCrashedError(
                            f"the evaluation took longer than {timeout_s:g} s (evaluation.timeout_s of the policy)"
                        ) from None
        except BrokenPipeError:
            return child.wait()
        finally:
            _end(child)

    def _environment(self) -> dict[str, str]:
        # a model's code has no business with our settings, the database's password among them
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_EXT_")}
        return {
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
            **kept,
            "MLFLOW_TRACKING_URI": self._mlflow_url,
            "MLFLOW_REGISTRY_URI": self._mlflow_url,
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GIT_PYTHON_REFRESH": "quiet",
            "MPLBACKEND": "Agg",
        }


def _document(version: ModelVersion) -> dict[str, Any]:
    return {
        "model": version.model,
        "version": version.version,
        "run_id": version.run_id,
        "source": version.source,
        "workspace": version.workspace,
    }


def _report(answer: dict[str, Any]) -> GateReport:
    if "unavailable" in answer:
        raise UnavailableError(answer["unavailable"])
    if "impossible" in answer:
        raise EvaluationImpossibleError(answer["impossible"])
    return GateReport.from_dict(answer["report"])


def _end(child: subprocess.Popen[bytes]) -> None:
    """Leave nothing of the child's process group behind."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with code {code} and no answer"
    return f"was ended by signal {-code} ({signal.Signals(-code).name})" + (
        "; perhaps it ran out of memory" if -code == signal.SIGKILL else ""
    )


def _tail(output: Path) -> str:
    lines = output.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip().splitlines()
    return f": {lines[-1][:500]}" if lines else ""
