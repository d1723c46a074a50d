"""The configuration as it is now: read again when the file changes, kept when the change is a mistake."""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_ext.bootstrap import running
from mlflow_ext.config import DEFAULT_FILE, PREFIX, Settings, load
from mlflow_ext.domain.drift import Monitor
from mlflow_ext.errors import InvalidSettingsError
from mlflow_ext.policy import ModelPolicy

_log = logging.getLogger(__name__)


@dataclass
class Policies:
    """Gives the present policy of each model.

    Attributes:
        settings: The settings as they were read last.
    """

    settings: Settings
    _seen: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Remember which state of the file the settings are from."""
        self._seen = _modified_ns()

    def of(self, model: str) -> ModelPolicy:
        """Give a model's policy."""
        self.refresh()
        return self.settings.policy(model)

    def refresh(self) -> bool:
        """Read the file again if it has changed; True when the settings are other than before."""
        modified = _modified_ns()
        if modified == self._seen:
            return False
        self._seen = modified
        try:
            settings = running(load())
        except InvalidSettingsError as exc:
            _log.warning("configuration.refused, the former one stays: %s", exc)
            return False
        changed = settings != self.settings
        self.settings = settings
        return changed

    @property
    def retires(self) -> bool:
        """Whether any model's predictions are to be removed some day."""
        logs = [one.prediction_log for one in (self.settings.defaults, *self.settings.models.values())]
        return any(log.keep_s is not None or log.keep_bytes is not None for log in logs)

    def monitors(self, served: list[str]) -> list[Monitor]:
        """Name what is watched: models with a schedule of their own, and by the defaults every served model."""
        names = set(self.settings.models)
        if self.settings.defaults.drift.schedule is not None:
            names |= set(served)
        found = []
        for name in sorted(names):
            policy = self.settings.policy(name).drift
            if policy.schedule is not None:
                found.append(Monitor(name, policy.schedule, policy.timezone, policy.window_s, policy.catch_up))
        return found


def _modified_ns() -> int | None:
    try:
        return Path(os.environ.get(PREFIX + "CONFIG") or DEFAULT_FILE).stat().st_mtime_ns
    except OSError:
        return None
