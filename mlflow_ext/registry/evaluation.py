"""The evaluation process, `python -m mlflow_ext.registry.evaluation PARENT`: one request in, one answer out.

It reads a JSON request from standard input and writes a JSON answer to the file that the request names. It is started,
limited and read by `evaluator.py`; the measuring is in `measuring.py`. It is a process of its own because a model, and
a gate of one's own, is somebody else's code, which may hang, crash or eat memory.
"""

import json
import sys
from pathlib import Path
from typing import Any

from mlflow_ext.errors import MlflowExtError, UnavailableError
from mlflow_ext.parent_death import die_with


def main() -> None:
    """Answer one request."""
    # before anything heavy is imported: a worker that is killed in those seconds must not leave us running
    die_with(int(sys.argv[1]))
    from mlflow_ext.registry.measuring import measure

    line = sys.stdin.readline()
    if not line:  # the worker ended before it had work for us
        return
    request = json.loads(line)
    try:
        answer: dict[str, Any] = {"report": measure(request).as_dict()}
    except UnavailableError as exc:
        answer = {"unavailable": str(exc)}
    except MlflowExtError as exc:
        answer = {"impossible": str(exc)}
    answer_file = Path(request["answer"])
    partial = answer_file.with_suffix(".partial")
    partial.write_text(json.dumps(answer), encoding="utf-8")
    partial.rename(answer_file)


if __name__ == "__main__":
    main()
