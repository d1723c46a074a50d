"""The one place that builds adapters and owns the engine's lifetime. Processes call it once, at their start."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from mlflow_ext.config import Settings, load
from mlflow_ext.store.engine import make_engine

STATE_FILE = "state.json"
"""Under the data directory: what `mlflow-ext up` is running, written by it and read by every other command."""


@dataclass(frozen=True, slots=True)
class Services:
    """What a process works with; lives as long as the process."""

    settings: Settings
    engine: Engine


@contextmanager
def services(settings: Settings | None = None, *, name: str = "mlflow-ext") -> Iterator[Services]:
    """Build the services and dispose of the engine at the end.

    Raises:
        InvalidSettingsError: The configuration has mistakes, or names no database.
    """
    settings = settings or load()
    engine = make_engine(settings.require_database_url(), name=name)
    try:
        yield Services(settings=settings, engine=engine)
    finally:
        engine.dispose()


def state_file(data_dir: Path) -> Path:
    """Say where `up` tells the other commands what it runs."""
    return data_dir.absolute() / STATE_FILE
