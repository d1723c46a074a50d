"""A compactor that is killed with -9 again and again while a writer appends."""

import os
import random
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from mlflow_ext.spool import SpoolWriter
from tests.integration.drift.spooled import SINCE, answered

_COMPACT_FOR_EVER = """
import os, sys, time
from pathlib import Path
from drift.compactor import Compactor
from mlflow_ext.registry.scoring_protocol import ModelColumns
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.segments import Segments
url, directory, root = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
# the imports cost seconds, so each compactor is a copy of this process
for _ in sys.stdin:
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        os.waitpid(pid, 0)
        continue
    compactor = Compactor(Segments(make_engine(url)), directory / "spool", root,
                          directory / "quarantine", lambda model, version: ModelColumns())
    while True:
        compactor.run_once()
        time.sleep(0.001)
"""


def kill_while_compacting(kills: int, database_url: str, directory: Path, root: str) -> int:
    """Kill compactors at times of chance, 50 to 500 ms after their start.

    Returns:
        Number of records that were acknowledged, named `r0`, `r1` …
    """
    generator = random.Random(7)  # noqa: S311  (when to kill is no secret)
    writer = SpoolWriter(directory / "spool", max_file_bytes=20_000)
    acknowledged = 0
    with subprocess.Popen(
        [sys.executable, "-c", _COMPACT_FOR_EVER, database_url, str(directory), root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as source:
        assert source.stdin is not None
        assert source.stdout is not None
        source.stdout.readline()
        for _ in range(kills):
            source.stdin.write(b"another\n")
            pid = int(source.stdout.readline())
            end = time.monotonic() + generator.uniform(0.05, 0.5)
            while time.monotonic() < end:
                at = SINCE + timedelta(milliseconds=acknowledged)
                writer.append(answered(f"r{acknowledged}", {"x": float(acknowledged), "c": "text"}, at=at))
                acknowledged += 1
                time.sleep(0.001)
            os.kill(pid, signal.SIGKILL)
        source.stdin.close()
    writer.close()
    return acknowledged
