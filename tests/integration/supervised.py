"""A running driver program, and what it says."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

from mlflow_ext.supervisor import leftovers
from tests.conftest import wait_until

DRIVER = Path(__file__).with_name("supervisor") / "driver.py"


class Driven:
    """A running driver."""

    def __init__(self, data_dir: Path, document: dict[str, Any], **popen: Any) -> None:
        self.data_dir = data_dir
        self.events: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [*popen.pop("before", ()), sys.executable, str(DRIVER), str(data_dir), json.dumps(document)],
            stdout=subprocess.PIPE,
            text=True,
            **popen,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.events.append(json.loads(line))

    def wait_for(self, timeout_s: float = 20, **values: Any) -> dict[str, Any]:
        """Wait for an event that holds these values."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.events if values.items() <= event.items()]

        wait_until(found, timeout_s, lambda: f"{values} among {self.events}")
        return found()[-1]

    def wait_for_error(self, timeout_s: float = 20) -> str:
        """Wait for the error that ends the driver."""
        wait_until(lambda: any("error" in event for event in self.events), timeout_s, lambda: str(self.events))
        return str(next(event["error"] for event in self.events if "error" in event))

    def end(self, how: signal.Signals = signal.SIGTERM, timeout_s: float = 30) -> int:
        """Signal the driver and wait for its exit code."""
        self.process.send_signal(how)
        code = self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code

    def phases(self, phase: str) -> list[str]:
        """Name the parts that came into a phase, in order."""
        return [event["part"] for event in self.events if event.get("phase") == phase]

    def left(self) -> list[psutil.Process]:
        """Give the processes that still carry the mark."""
        return leftovers.of_stack(self.data_dir.resolve())
