"""A program that supervises what a JSON document describes, and prints every change as a JSON line.

The supervisor takes over signals and orphans of its whole process, so tests give it a process of its own.
"""

import json
import sys
from pathlib import Path
from typing import Any

from mlflow_ext.embedded_postgres import locate
from mlflow_ext.errors import MlflowExtError
from mlflow_ext.running import make_data_dir
from mlflow_ext.supervisor.part import Part
from mlflow_ext.supervisor.stack import postgres_parts
from mlflow_ext.supervisor.supervisor import Change, Supervisor


def say(**values: object) -> None:
    """Print one event."""
    print(json.dumps(values), flush=True)


def stand_in(document: dict[str, Any]) -> Part:
    """Make a part that runs Python code, ready when it has made its file."""
    ready = Path(document["ready"]) if "ready" in document else None
    return Part(
        name=document["name"],
        command=(sys.executable, "-c", document["code"]),
        is_ready=(lambda: ready.exists()) if ready else (lambda: True),
        ready_within_s=document.get("ready_within_s", 10),
        stop_within_s=document.get("stop_within_s", 10),
        once=document.get("once", False),
    )


def main(data_dir: str, document: str) -> int:
    """Supervise until told to stop."""
    stack = make_data_dir(Path(data_dir))
    parts = [stand_in(part) for part in json.loads(document)["parts"]]
    try:
        if json.loads(document).get("postgres"):
            postgres = locate(stack, lambda text: say(said=text))
            say(url=postgres.url)
            parts = [*postgres_parts(postgres), *parts]
        supervisor = Supervisor(parts, stack=stack, logs=stack / "logs", tell=_tell)
        supervisor.run(lambda: say(all="ready"))
    except MlflowExtError as exc:
        say(error=str(exc))
        return 1
    say(all="stopped")
    return 0


def _tell(change: Change) -> None:
    say(part=change.part, phase=change.phase.value, detail=change.detail, pid=change.pid)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
