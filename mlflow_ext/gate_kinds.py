"""Which gates there are: the entry points of the group `mlflow_ext.gates`, ours and everybody else's alike.

What a gate is given and what it answers is in `gate_context.py`; how a policy names gates is in `policy.py`.
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mlflow_ext.errors import InvalidPolicyError

GROUP = "mlflow_ext.gates"


@cache
def _found() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def known_gates() -> list[str]:
    """Name every gate that is installed, by the word that stands as `gate:` in a policy."""
    return sorted(_found())


@cache
def gate_named(word: str) -> Any:
    """Load a gate: an object with `policy` (its section of the policy, a class) and `judge` (a function).

    Raises:
        InvalidPolicyError: No such gate is installed, or it cannot be loaded; the message names those that are.
    """
    point = _found().get(word)
    if point is None:
        names = ", ".join(known_gates()) or f"none (install mlflow-ext anew: entry points {GROUP})"
        raise InvalidPolicyError(f"no such gate; known are {names}")
    try:
        gate = point.load()
    # somebody else's module may fail in any way; the policy's reader must hear which one
    except Exception as exc:
        raise InvalidPolicyError(f"{point.value} cannot be loaded: {type(exc).__name__}: {exc}") from exc
    missing = [name for name in ("policy", "judge") if not hasattr(gate, name)]
    if missing:
        raise InvalidPolicyError(f"{point.value} is no gate: it has no {' and no '.join(missing)}")
    return gate
