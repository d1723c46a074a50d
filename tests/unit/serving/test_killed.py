"""kill -9 of a scoring process under load, again and again: no acknowledged prediction is missing from the spool.

`tests/integration/serving/test_swapping.py` does the same to the whole service; here a process is forked, ready in
milliseconds, so that it can be killed often.
"""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from mlflow_ext.spool import is_finished, read_spool, spool_files
from tests.conftest import wait_until

ROOT = Path(__file__).parents[3]
CLIENTS = 8
SCRIPT = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from tests.unit.serving.in_process import app, loaded
from tests.unit.serving.test_hot_path import plan
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
versions = [replace(loaded(engine, 1), plan=plan(engine)) for engine in ("kernel", "python")]
for _ in sys.stdin:
    if os.fork() == 0:
        with app(Path(sys.argv[1]), *versions, loaded("mlflow", 1), spool_min_free_bytes=0) as running:
            print(os.getpid(), running.client.base_url, flush=True)
            signal.pause()
"""


class Clients:
    """Clients that score as fast as they can until the process behind the address is gone."""

    def __init__(self, url: str, model: str) -> None:
        """Take whom to ask, and begin."""
        self.acknowledged: list[str] = []
        self._url = f"{url}/models/{model}/invocations"
        self._body = {"instances": [[1, 2]]} if model == "mlflow" else {"rows": [[1.0]]}
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for their end."""
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with httpx.Client(timeout=60) as client:
            while True:
                try:
                    answer = client.post(self._url, json=self._body)
                except httpx.TransportError:
                    return
                assert answer.status_code == 200
                self.acknowledged.append(answer.headers["x-request-id"])


@pytest.mark.parametrize(
    ("model", "times"),
    [
        ("kernel", 3),
        ("mlflow", 3),
        *(pytest.param(model, 20, marks=pytest.mark.slow) for model in ("kernel", "python", "mlflow")),
    ],
)
def test_no_acknowledged_prediction_is_missing(tmp_path: Path, model: str, times: int) -> None:
    """Whichever way requests are answered; what the killed process wrote is finished and readable."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    acknowledged: list[str] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for number in range(times):
            parent.stdin.write("\n")
            parent.stdin.flush()
            pid, url = parent.stdout.readline().split()
            clients = Clients(url.rstrip("/"), model)
            enough = 50 + 37 * number
            wait_until(lambda clients=clients, enough=enough: len(clients.acknowledged) > enough, 60)  # type: ignore[misc]
            subprocess.run(["kill", f"-{signal.SIGKILL:d}", pid], check=True)
            clients.join()
            acknowledged += clients.acknowledged
        parent.stdin.close()
    files = spool_files(tmp_path / "spool")
    assert all(is_finished(path) for path in files)
    logged = [record.request_id for path in files for record, _ in read_spool(path)]
    assert len(acknowledged) > 50 * times
    assert set(acknowledged) <= set(logged)
    assert len(logged) == len(set(logged))
    # answered or not, at most one request of each client was under way at the kill
    assert len(logged) <= len(acknowledged) + CLIENTS * times
