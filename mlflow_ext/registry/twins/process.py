"""The converting process, `python -m mlflow_ext.registry.twins.process PARENT`: a request in, a twin or a refusal out.

Converting imports much and keeps Python busy, so it is kept out of processes that score. It is started, limited and
read by `apart.py`; the making is in `making.py`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from mlflow_ext.parent_death import die_with

_NICE = 5
"""Scoring on the same machine comes first."""


def main() -> None:
    """Answer one request."""
    die_with(int(sys.argv[1]))
    os.nice(_NICE)
    line = sys.stdin.readline()
    if not line:
        return
    request = json.loads(line)
    from mlflow_ext.domain.twins import TwinRefusedError
    from mlflow_ext.registry.loading import load_judged
    from mlflow_ext.registry.twins.making import make_twin

    into = Path(request["into"])
    try:
        twin = make_twin(load_judged(Path(request["model"])), request["tolerance"])
    except TwinRefusedError as exc:
        answer: dict[str, Any] = {"refused": str(exc)}
    else:
        (into / "twin.onnx").write_bytes(twin.content)
        answer = {"facts": twin.facts.as_dict()}
    partial = into / "answer.partial"
    partial.write_text(json.dumps(answer), encoding="utf-8")
    partial.rename(into / "answer.json")


if __name__ == "__main__":
    main()
