"""One run of `mlflow-ext up`: hold the data directory, clean up after a killed run, run the parts, tell the others.

What the parts are stands in `stack.py`, how they are kept up in `supervisor.py`.
"""

import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from mlflow_ext import running
from mlflow_ext.config import Settings
from mlflow_ext.embedded_postgres import EmbeddedPostgres, locate
from mlflow_ext.supervisor import leftovers, stack
from mlflow_ext.supervisor.listening import settle_ports
from mlflow_ext.supervisor.progress import Progress
from mlflow_ext.supervisor.supervisor import Change, Phase, Supervisor


def run(settings: Settings, progress: Progress) -> None:
    """Run everything until a signal asks to stop.

    Raises:
        AlreadyRunningError: Another `up` runs on this data directory.
        InvalidSettingsError: A port is taken, or the data directory cannot be used.
        MissingExtraError: No database is set and the extra `local` is not installed.
        UnavailableError: A part does not come up or dies too often; everything is stopped by then.
    """
    begun = time.monotonic()
    data_dir = running.make_data_dir(settings.data_dir)
    with running.exclusive(data_dir):
        running.forget(data_dir)
        # PostgreSQL is asked in its own way to end, before it is started again
        left = leftovers.end(leftovers.of_stack(data_dir, without="postgres"), time.sleep)
        if left:
            progress.say(f"ended {left} processes that a killed `mlflow-ext up` had left running")
        ports = settle_ports(
            {
                "--mlflow-port": (settings.mlflow_host, settings.mlflow_port),
                "--serving-port": (settings.serving_host, settings.serving_port),
            }
        )
        postgres, database_url = _database(settings, data_dir, progress)
        settled = stack.settled(settings, data_dir, database_url, ports["--mlflow-port"], ports["--serving-port"])
        _Session(settled, progress, postgres, begun).run()


def _database(settings: Settings, data_dir: Path, progress: Progress) -> tuple[EmbeddedPostgres | None, str]:
    if settings.database_url is not None:
        return None, settings.database_url.get_secret_value()
    postgres = locate(data_dir, progress.say)
    return postgres, postgres.url


class _Session:
    """Keeps the state file in step with what runs."""

    def __init__(self, settings: Settings, progress: Progress, postgres: EmbeddedPostgres | None, begun: float) -> None:
        self._settings = settings
        self._progress = progress
        self._embedded = postgres is not None
        self._begun = begun
        self._ready_at = ""
        self._supervisor = Supervisor(
            stack.parts(settings, postgres),
            stack=settings.data_dir,
            logs=settings.data_dir / "logs",
            tell=self._on_change,
            copy=progress.line,
        )

    def run(self) -> None:
        try:
            self._supervisor.run(self._on_ready)
        finally:
            with suppress(OSError):
                running.forget(self._settings.data_dir)
        self._progress.say("everything is stopped")

    def _on_ready(self) -> None:
        self._ready_at = datetime.now(UTC).isoformat(timespec="seconds")
        took_s = time.monotonic() - self._begun
        auth = self._settings.auth_at(self._settings.serving_host)
        self._progress.ready(self._stack(), str(self._settings.data_dir), took_s, auth=auth)
        running.write(self._settings.data_dir, self._stack())

    def _on_change(self, change: Change) -> None:
        self._progress.change(change)
        if self._ready_at and change.phase is Phase.STARTING:
            running.write(self._settings.data_dir, self._stack())

    def _stack(self) -> running.Stack:
        return running.Stack(
            pid=os.getpid(),
            started_at=self._ready_at,
            database_url=self._settings.require_database_url(),
            mlflow_url=self._settings.mlflow_url,
            serving_url=self._settings.serving_url,
            embedded=self._embedded,
            parts=self._supervisor.pids(),
        )
