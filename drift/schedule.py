"""The drift scheduler: who runs what when. It stays light: children do the heavy work (`children.py`, `worker.py`).

Any number may run: slots, checks, alerts and retrainings are taken from PostgreSQL, each by one of them.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from drift.alerts import tell_all
from drift.channels.sender import channels
from drift.children import Child
from drift.policies import Policies
from drift.skew_due import enter_due
from drift.triggers import Triggers
from mlflow_ext.bootstrap import Services
from mlflow_ext.domain.replicas import Role
from mlflow_ext.errors import UnavailableError
from mlflow_ext.spool import spool_files
from mlflow_ext.store.alerts import Alerts
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.pointers import SqlPointers
from mlflow_ext.store.registry_view import SqlRegistryView
from mlflow_ext.store.relabelling import Relabelling
from mlflow_ext.store.replicas import BEAT_S, Replicas, new_replica_id
from mlflow_ext.store.retraining_triggers import RetrainingTriggers
from mlflow_ext.store.retrainings import Retrainings
from mlflow_ext.store.schedules import Schedules
from mlflow_ext.store.skews import Skews

_log = logging.getLogger(__name__)

TICK_S = 0.5
LOOK_S = 1.0
"""How often what asks for a retraining is looked for."""
LABELS_S = 5.0
"""How often it is looked whether a window is to be looked at for labels (how often each is, policy says), and whether
a version has begun to answer."""


class Scheduler:
    """One scheduler process."""

    def __init__(self, parts: Services) -> None:
        """Take the services; the process's name among the living is also the owner of what its children claim."""
        self.id = new_replica_id()
        self._parts = parts
        self._policies = Policies(parts.settings)
        self._schedules = Schedules(parts.engine)
        self._checks = Checks(parts.engine, owner=self.id, lease_s=parts.settings.lease_s)
        self._retrainings = Retrainings(parts.engine, owner=self.id, lease_s=parts.settings.lease_s)
        self._pointers = SqlPointers(parts.engine)
        self._replicas = Replicas(parts.engine)
        niceness = parts.settings.background_niceness
        # less than what nobody waits for: the spool's room is bounded
        self._compactor = Child("compactor", ["compactor"], niceness // 2)
        self._checker = Child("checks", ["checks", self.id], niceness)
        self._retrainer = Child("retraining", ["retraining", self.id], niceness)
        self._synced_at = self._beaten_at = float("-inf")

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then end the children and let go of what they held."""
        sender = threading.Thread(target=self._send_alerts, args=(stop,), name="alerts", daemon=True)
        sender.start()
        stop_metrics = self._serve_metrics()
        threading.Thread(target=self._look_for_triggers, args=(stop,), name="triggers", daemon=True).start()
        try:
            while not stop.is_set():
                _patiently(self._round)
                stop.wait(TICK_S)
        finally:
            for child in self._children:
                child.stop()
            stop_metrics()
            _patiently(self._leave)

    def _serve_metrics(self) -> Callable[[], None]:
        settings = self._parts.settings
        if settings.drift_metrics_port is None:
            return lambda: None
        from drift.metrics import serve

        try:
            port, stop = serve(self._parts.engine, settings.drift_metrics_host, settings.drift_metrics_port)
        except OSError as exc:
            # watching models is worth more than being watched
            _log.error("metrics.unavailable port=%d reason=%s", settings.drift_metrics_port, exc)
            return lambda: None
        _log.info("metrics.served host=%s port=%d", settings.drift_metrics_host, port)
        return stop

    @property
    def _children(self) -> tuple[Child, ...]:
        return self._checker, self._retrainer, self._compactor

    def _round(self) -> None:
        now = time.monotonic()
        if now - self._beaten_at >= BEAT_S:
            self._beat()
            self._beaten_at = now
        if self._policies.refresh() or now - self._synced_at >= self._policies.settings.reconcile_s:
            self._schedules.sync(self._policies.monitors(self._served()))
            self._synced_at = now
        for child in self._children:
            child.sweep()
        entered = self._schedules.tick()
        if entered:
            _log.info("schedule.due checks=%d", entered)
        if spool_files(self._parts.settings.spool_dir) or self._policies.retires:
            self._compactor.ensure()
        if self._checks.any_open():
            self._checker.ensure()
        if self._retrainings.any_open():
            self._retrainer.ensure()

    def _served(self) -> list[str]:
        return [one.model for one in self._pointers.all() if one.version is not None]

    def _beat(self) -> None:
        state: dict[str, Any] = {child.name: child.pid for child in self._children}
        state["quarantined_files"] = _count(self._parts.settings.data_dir / "quarantine")
        if not self._replicas.beat(self.id, state):
            self._replicas.announce(self.id, Role.DRIFT, None, state)

    def _leave(self) -> None:
        self._checks.lease.release()
        self._retrainings.lease.release()
        self._replicas.leave(self.id)

    def _send_alerts(self, stop: threading.Event) -> None:
        alerts = Alerts(self._parts.engine)
        with httpx.Client() as client:
            while not stop.wait(TICK_S):
                _patiently(lambda: self._tell(alerts, client))

    def _tell(self, alerts: Alerts, client: httpx.Client) -> None:
        settings = self._policies.settings
        tell_all(alerts, channels(settings, client), settings, lambda model: settings.policy(model).alerts)

    def _look_for_triggers(self, stop: threading.Event) -> None:
        triggers = Triggers(
            RetrainingTriggers(self._parts.engine), lambda model: self._policies.settings.policy(model).retraining
        )

        relabelling = Relabelling(self._parts.engine)
        labels_at = float("-inf")

        def models() -> list[str]:
            return sorted({*self._policies.settings.models, *self._served()})

        def look_for_labels() -> None:
            for model in models():
                policy = self._policies.settings.policy(model)
                wait_s = policy.prediction_log.feedback_wait_s
                if entered := relabelling.enter(model, look_s=policy.drift.label_look_s, wait_s=wait_s):
                    _log.info("labels.came model=%s checks=%d", model, entered)

        skews, view = Skews(self._parts.engine), SqlRegistryView(self._parts.engine)

        def look_for_skew() -> None:
            for model in self._served():
                enter_due(skews, view, self._pointers, model, self._policies.settings.policy(model).drift)

        while not stop.wait(LOOK_S):
            _patiently(lambda: triggers.look(models()))
            if time.monotonic() - labels_at >= LABELS_S:
                _patiently(look_for_labels)
                _patiently(look_for_skew)
                labels_at = time.monotonic()


def _patiently(step: Callable[[], object]) -> None:
    try:
        step()
    except UnavailableError as exc:
        _log.warning("scheduler.waits reason=%s", exc)
    except Exception:  # a defect in one round must not end the scheduling of everything else
        _log.exception("scheduler.round_failed")


def _count(directory: Any) -> int:
    return sum(1 for _ in directory.glob("*")) if directory.is_dir() else 0
