"""Results of one model's peers stand beside those of others that were measured at another time."""

import json
from pathlib import Path
from typing import Any

from benchmarks.peers import merged


def cell(model: str, rps: float) -> dict[str, Any]:
    """One cell."""
    return {"model": model, "rows": 1, "clients": 1, "servers": {"mlflow-ext": {"rps": rps, "p99_ms": 1.0}}}


def test_a_model_is_replaced_and_others_stay(tmp_path: Path) -> None:
    """How it was measured, its cells and who was absent go with the model."""
    first = merged(tmp_path, "once", [cell("a", 1.0), cell("b", 2.0)], {"Ray Serve, model (a)": "why", "X": "why"})
    (tmp_path / "peers.json").write_text(json.dumps(first))
    then = merged(tmp_path, "again", [cell("a", 3.0)], {})
    assert then == {
        "how": {"a": "again", "b": "once"},
        "cells": [cell("a", 3.0), cell("b", 2.0)],
        "absent": {"X": "why"},
    }
