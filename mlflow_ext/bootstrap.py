"""The one place that builds adapters and owns the engine's lifetime. Processes call it once, at their start."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import SecretStr
from sqlalchemy import Engine

from mlflow_ext import running as running_stack
from mlflow_ext.config import Settings, load
from mlflow_ext.running import state_file
from mlflow_ext.store.engine import make_engine

__all__ = ["Services", "running", "services", "state_file"]


@dataclass(frozen=True, slots=True)
class Services:
    """What a process works with; lives as long as the process."""

    settings: Settings
    engine: Engine


@contextmanager
def services(settings: Settings | None = None, *, name: str = "mlflow-ext") -> Iterator[Services]:
    """Build the services and dispose of the engine at the end.

    Addresses that are not set are those of the `mlflow-ext up` that runs on the data directory.

    Raises:
        InvalidSettingsError: The configuration has mistakes, or names no database while no `up` runs here.
    """
    settings = running(settings or load())
    engine = make_engine(settings.require_database_url(), name=name)
    try:
        yield Services(settings=settings, engine=engine)
    finally:
        engine.dispose()


def running(settings: Settings) -> Settings:
    """Fill in the addresses that are not set from the `mlflow-ext up` that runs on the data directory, if one does."""
    stack = running_stack.find(settings.data_dir)
    if stack is None:
        return settings
    if settings.database_url is not None and settings.database_url.get_secret_value() != stack.database_url:
        # set for another deployment: none of this one's addresses belong to it
        return settings
    found = {
        "database_url": SecretStr(stack.database_url),
        "mlflow_url": stack.mlflow_url,
        "serving_url": stack.serving_url,
    }
    return settings.model_copy(update={k: v for k, v in found.items() if k not in settings.model_fields_set})
