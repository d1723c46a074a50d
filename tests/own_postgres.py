"""A PostgreSQL server of the tests' own, which may be stopped in every way and started again."""

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from mlflow_ext.embedded_postgres import locate
from tests.conftest import wait_until


class OwnPostgres:
    """One server in a directory of its own."""

    def __init__(self, *options: str) -> None:
        """Make its files; takes further settings, as `-c name=value`."""
        self._directory = Path(tempfile.mkdtemp(prefix="mlflow-ext-pg-"))
        self._directory.chmod(0o755)
        self._cluster = locate(self._directory, lambda _: None)
        self._options = [word for option in options for word in ("-c", option)]
        self._user: dict[str, Any] = {}
        if self._cluster.user is not None:
            self._user = {"user": self._cluster.user.uid, "group": self._cluster.user.gid, "extra_groups": []}
        self._cluster.make_room()
        subprocess.run(self._cluster.init_command(), check=True, stdout=subprocess.DEVNULL, **self._user)
        self._cluster.adopt()
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL of its maintenance database."""
        return f"postgresql://postgres@/postgres?host={self._cluster.sockets}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._cluster.clear_way()
        file = self._directory / "server.log"
        with file.open("ab") as log:
            self._server = subprocess.Popen(
                (*self._cluster.serve_command(), *self._options), stdout=log, stderr=log, **self._user
            )
        wait_until(self._cluster.is_ready, 30, file.read_text)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends sessions in order (`fast`), SIGQUIT does not and recovery follows (`immediate`)."""
        assert self._server is not None
        self._server.send_signal(how)
        self._server.wait(60)

    def close(self) -> None:
        """Stop it, and delete its files."""
        if self._server is not None and self._server.poll() is None:
            self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
