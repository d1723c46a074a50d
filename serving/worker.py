"""The promotion worker: `python -m serving.worker`, started by `mlflow-ext serve --role promotion`. Any number may run.

Four threads: one hears what changes, one follows the registry (brings marks together, opens promotions, ends those a
person has outrun), one claims promotions and brings them to their end, one tells that the process is alive. What each
step does is in `mlflow_ext/lifecycle`.
"""

import logging
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from mlflow_ext.bootstrap import Lifecycle, lifecycle, services
from mlflow_ext.config import Settings, load
from mlflow_ext.domain.actors import PROMOTION_WORKER, act_as
from mlflow_ext.domain.replicas import Role
from mlflow_ext.errors import GateRefusedError, MlflowExtError, NotFoundError, UnavailableError
from mlflow_ext.giving_way import give_way_here, session_gives_way
from mlflow_ext.lifecycle.hold import Hold
from mlflow_ext.lifecycle.open_promotions import end_overtaken, open_promotions
from mlflow_ext.lifecycle.promote import Promoter
from mlflow_ext.lifecycle.roll_back import end_rolled_back
from mlflow_ext.ports import Notifications
from mlflow_ext.registry.client import connect
from mlflow_ext.registry.evaluator import ProcessEvaluator
from mlflow_ext.registry.pinning import StoredFiles
from mlflow_ext.registry.results import MlflowResults
from mlflow_ext.store.audit_gaps import AuditGaps
from mlflow_ext.store.guard import Guard
from mlflow_ext.store.logged_requests import SegmentRequests
from mlflow_ext.store.notifications import PgNotifications
from mlflow_ext.store.pins import SqlPins
from mlflow_ext.store.replicas import BEAT_S, Replicas, new_replica_id
from serving.agenda import Agenda

_log = logging.getLogger(__name__)

_LOOK_FOR_WORK_S = 2.0
"""At most this long after a lease ended its promotion is taken over."""
_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 30.0
_STOP_WITHIN_S = 15.0
ROLLING_BACK = timedelta(seconds=3)
"""So long whoever rolls back may take to say so; then the worker says it for them."""
_LOOK_FOR_SIGNALS_S = 0.1


class Worker:
    """One worker process's loops; `stop` ends them."""

    def __init__(
        self,
        parts: Lifecycle,
        promoter: Promoter,
        notifications: Notifications,
        settings: Settings,
        guard: Guard | None = None,
        gaps: AuditGaps | None = None,
    ) -> None:
        """Take the adapters, the use case, the wake-up calls, the settings, the guard and the trail's gaps."""
        self.stopping = threading.Event()
        self.working_on: int | None = None
        self._parts = parts
        self._promoter = promoter
        self._notifications = notifications
        self._settings = settings
        self._guard = guard
        self._gaps = gaps
        self._guard_declared = False
        self._heard: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._work = threading.Event()
        self._retry_s = _FIRST_RETRY_S

    def stop(self) -> None:
        """End all loops soon."""
        self.stopping.set()
        self._work.set()
        self._heard.put(None)
        self._notifications.wake()

    def hear(self) -> None:
        """Note what changes, until stopped."""
        with self._notifications.listen(self._settings.reconcile_s) as news:
            for model in news:
                if self.stopping.is_set():
                    return
                self._heard.put(model)

    def follow(self) -> None:
        """Look at each model whose registry entry moved, and at all of them now and then, until stopped."""
        agenda = Agenda(self._everything)
        while not self.stopping.is_set():
            if agenda.is_empty:
                agenda.add(self._heard.get())
                continue
            while not self._heard.empty():
                agenda.add(self._heard.get())
            models: list[str] = []
            try:
                models = agenda.take()
                for model in models:
                    self._look(model)
                if agenda.been_round:
                    self._retry_s = _FIRST_RETRY_S
            except UnavailableError as exc:
                _log.warning("look_failed models=%s reason=%r retry_s=%s", models, str(exc), self._retry_s)
                agenda.clear()
                self._look_again()
            # not after each model of a round: to look for work costs something
            if agenda.is_empty or len(models) > 1:
                self._work.set()

    def work(self) -> None:
        """Claim promotions and bring them to their end, until stopped."""
        poll_s = min(_LOOK_FOR_WORK_S, self._settings.lease_s / 2)
        while not self.stopping.is_set():
            self._work.clear()
            try:
                while not self.stopping.is_set() and self._work_on_one():
                    pass
            except UnavailableError as exc:
                _log.warning("claim_failed reason=%r", str(exc))
            self._work.wait(poll_s)

    def _everything(self) -> list[str]:
        """Begin a look at everything: let the guard be as the policies say, and note what the trail lacks."""
        if self._gaps is not None:
            self._gaps.fill()
        if self._guard is not None:
            # once: whoever starts last has the newest policies
            if not self._guard_declared:
                self._guard.set_modes(*self._settings.guard_modes())
                self._guard_declared = True
            # what SQL was refused
            self._guard.note_refusals()
        return self._parts.view.models()

    def _look(self, model: str) -> None:
        parts = self._parts
        try:
            parts.settle(model)
        except (GateRefusedError, NotFoundError) as exc:
            _log.warning("marks_not_settled model=%s reason=%r", model, str(exc))
        try:
            parts.return_after_withdrawal(model)
        except (GateRefusedError, NotFoundError) as exc:
            _log.warning("not_returned model=%s reason=%r", model, str(exc))
        end_rolled_back(model, parts.view, parts.promotions, parts.events.now() - ROLLING_BACK)
        end_overtaken(model, parts.view, parts.events, parts.promotions)
        open_promotions(model, parts.view, parts.events, parts.promotions)

    def _look_again(self) -> None:
        """Look at everything soon: what failed was waiting for MLflow or PostgreSQL, and nobody will notify us."""
        timer = threading.Timer(self._retry_s, self._notifications.wake)
        timer.daemon = True
        timer.start()
        self._retry_s = min(self._retry_s * 2, _LAST_RETRY_S)

    def _work_on_one(self) -> bool:
        promotions = self._parts.promotions
        promotion = promotions.claim()
        if promotion is None:
            return False
        self.working_on = promotion.id
        _log.info(
            "promotion_claimed promotion=%s model=%s version=%s attempt=%s",
            *(promotion.id, promotion.model, promotion.version, promotion.attempt),
        )
        with Hold(promotions, promotion, self._settings.lease_s) as hold:
            after = self._promoter.advance(promotion, lambda: hold.lost.is_set() or self.stopping.is_set())
            _log.info("promotion_left promotion=%s state=%s", after.id, after.state)
        if self.stopping.is_set() and after.state.is_open:
            # nobody has to wait for our lease to end
            promotions.postpone(promotion, 0, event="let_go", note="the worker was stopped")
        self.working_on = None
        return True


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT.

    Raises:
        InvalidSettingsError: The configuration names no database.
    """
    name = new_replica_id()
    with services(settings, name="mlflow-ext promotion worker") as found:
        settings = found.settings
        parts = lifecycle(found, owner=name)
        notifications = PgNotifications(settings.require_database_url(), name="mlflow-ext promotion listen")
        client, pins = connect(settings.mlflow_url), SqlPins(found.engine)
        promoter = Promoter(
            view=parts.view,
            events=parts.events,
            registry=parts.registry,
            promotions=parts.promotions,
            evaluator=ProcessEvaluator(
                *(settings.mlflow_url, settings.models_dir, pins, SegmentRequests(found.engine)),
                settings.background_niceness,
            ),
            results=MlflowResults(client),
            policy=settings.policy,
            flipped=parts.settle,
            verify=StoredFiles(client, pins).verify,
        )
        worker = Worker(parts, promoter, notifications, settings, Guard(found.engine), AuditGaps(found.engine))
        failures = _run_threads(
            worker, [worker.hear, worker.follow, worker.work, lambda: _tell_alive(Replicas(found.engine), name, worker)]
        )
        notifications.close()
    if failures:
        raise failures[0]


def _run_threads(worker: Worker, loops: list[Callable[[], None]]) -> list[BaseException]:
    """Run the loops until they end; one that breaks stops the others, so that a supervisor starts us anew."""
    failures: list[BaseException] = []
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # a handler may interrupt this very thread inside a lock, so it only notes the signal
        signal.signal(number, lambda number, _: signals.append(number))

    def guarded(loop: Callable[[], None]) -> None:
        try:
            loop()
        # whatever it was, half a worker must not live on
        except BaseException as exc:
            _log.exception("worker_loop_failed")
            failures.append(exc)
            worker.stop()

    threads = [threading.Thread(target=guarded, args=(loop,), daemon=True) for loop in loops]
    for thread in threads:
        thread.start()
    _log.info("promotion_worker_started")
    while not signals and not worker.stopping.is_set():
        time.sleep(_LOOK_FOR_SIGNALS_S)
    worker.stop()
    for thread in threads:
        thread.join(_STOP_WITHIN_S)
    _log.info("promotion_worker_stopped")
    return failures


def _tell_alive(replicas: Replicas, name: str, worker: Worker) -> None:
    announced = False
    while True:
        state = {"working_on": worker.working_on}
        try:
            if not announced or not replicas.beat(name, state):
                replicas.announce(name, Role.PROMOTION, None, state)
                announced = True
        except UnavailableError as exc:
            _log.warning("beat_failed reason=%r", str(exc))
        if worker.stopping.wait(BEAT_S):
            break
    try:
        replicas.leave(name)
    except UnavailableError:
        _log.warning("leave_failed")


def main() -> None:
    """Run as a process of its own."""
    act_as(PROMOTION_WORKER)
    try:
        settings = load()
        logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        # scoring processes look at the same changes at the same moment
        give_way_here(settings.background_niceness // 2)
        session_gives_way(settings.background_niceness // 2)
        run(settings)
    except MlflowExtError as exc:
        sys.exit(f"mlflow-ext promotion worker: {exc}")


if __name__ == "__main__":
    main()
