"""The gates: each turns what was measured into results. A new gate is a file and an entry point (`mlflow_ext.gates`).

What a gate is given is in `gate_context.py`; what is measured, and where, is the evaluator's business
(`registry/evaluator.py`); who waits for the answer is `lifecycle/promote.py`.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

from mlflow_ext.domain.gates import GateResult, Importance, Verdict
from mlflow_ext.errors import GateUnavailableError, MissingEvidenceError, MlflowExtError, UnavailableError
from mlflow_ext.gate_context import Gate, GateContext
from mlflow_ext.gate_kinds import gate_named
from mlflow_ext.policy import GatePolicy

_log = logging.getLogger(__name__)


def judge(sections: Sequence[GatePolicy], context: GateContext) -> tuple[GateResult, ...]:
    """Let every gate of a policy judge, in the policy's order.

    Nothing that one gate does wrong keeps the others from judging: missing evidence is `inconclusive`, whatever else
    it raises is `error`. Our own errors say whether their cause may pass; of one that nobody foresaw it may be so.

    Raises:
        UnavailableError: A part that is needed does not answer; all of it is to be tried again.
    """
    return tuple(result for section in sections for result in _judged(section, context))


def _judged(section: GatePolicy, context: GateContext) -> list[GateResult]:
    gate: Gate = gate_named(section.gate)
    try:
        answer = gate.judge(section, context)
        results = [answer] if isinstance(answer, GateResult) else list(answer)
        if not results:
            results = [_without_measurement(section, Verdict.ERROR, "the gate gave no result")]
    except UnavailableError:
        raise
    except MissingEvidenceError as exc:
        results = [_without_measurement(section, Verdict.INCONCLUSIVE, str(exc))]
    except GateUnavailableError as exc:
        results = [_without_measurement(section, Verdict.ERROR, str(exc), may_pass=True)]
    except MlflowExtError as exc:
        results = [_without_measurement(section, Verdict.ERROR, str(exc))]
    # a gate of one's own, and the model's code under it, may raise whatever they like
    except Exception as exc:
        _log.exception("gate_fault gate=%s", section.gate)
        reason = f"{section.gate}: {type(exc).__name__}: {exc}"
        results = [_without_measurement(section, Verdict.ERROR, reason, may_pass=True)]
    return [_storable(result, Importance(section.importance)) for result in results]


def _without_measurement(section: GatePolicy, verdict: Verdict, reason: str, *, may_pass: bool = False) -> GateResult:
    return GateResult(gate=section.gate, name=section.title, verdict=verdict, reason=reason, may_pass=may_pass)


def _storable(result: GateResult, importance: Importance) -> GateResult:
    """Keep what JSON and MLflow can hold, and let the policy say what the result counts for."""
    interval = None
    if result.interval is not None and all(isfinite(bound) for bound in result.interval):
        interval = (float(result.interval[0]), float(result.interval[1]))
    return replace(
        result,
        importance=importance,
        measured=_finite(result.measured),
        bound=_finite(result.bound),
        champion=_finite(result.champion),
        sample_size=None if result.sample_size is None else int(result.sample_size),
        interval=interval,
        details=_plain(result.details),
    )


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and isfinite(value) else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays
        return _plain(value.tolist())
    if isinstance(value, float):
        return _finite(value)
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return str(value)
    return value
