"""Follows the registry: reads which version each model should answer with, has it loaded, and lets the pool swap.

How marks become a pointer is `lifecycle/reconcile.py`'s; how a version is loaded is `loader.py`'s. One thread decides
and is the pool's only writer, another one listens, a few load. Nothing here is on the path of a request, so scoring
goes on with what is loaded while PostgreSQL or MLflow is away.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import MlflowExtError, UnavailableError
from mlflow_ext.ports import Notifications, RegistryView
from serving.agenda import Agenda
from serving.last_served import ServedVersion
from serving.metrics import Metrics
from serving.pool import LoadedVersion, Pool
from serving.retries import Retries
from serving.wanted import Wanted, want

logger = logging.getLogger(__name__)

LOADERS = 2
"""Versions loaded at the same time, so that a dear one does not hold up a cheap one."""
_LOOK_AGAIN_S = (1.0, 15.0)
"""First and longest pause after a look that failed, in seconds."""


class LoadsVersions(Protocol):
    """What turns a version into one that can answer (`loader.py`)."""

    def load(self, version: ModelVersion, *, warm: bool) -> LoadedVersion:
        """Load a version, warm if it has time to predict logged requests; every failure is an error of ours."""
        ...

    def load_again(self, version: ModelVersion, digest: str) -> LoadedVersion:
        """Load a version from the copy of its files that was served last, and from nothing else."""
        ...


@dataclass(frozen=True, slots=True)
class _LoadEnded:
    version: ModelVersion
    loaded: LoadedVersion | None
    error: MlflowExtError | None


@dataclass(frozen=True, slots=True)
class _Improved:
    before: LoadedVersion
    better: LoadedVersion


class _Stop:
    pass


class Watcher:
    """Keeps a pool in step with the registry, from `start` to `stop`."""

    def __init__(
        self,
        *,
        pool: Pool,
        loader: LoadsVersions,
        view: RegistryView,
        follow: Callable[[str], ServingPointer | None],
        notifications: Notifications,
        metrics: Metrics,
        keep_previous_s: Callable[[str], float],
        load_ahead: Callable[[str], int],
        promoted: Callable[[str], Sequence[int]],
        pinned: Callable[[str], Mapping[int, str]],
        reconcile_s: float,
        on_change: Callable[[], None] = lambda: None,
        served_last: Callable[[], Sequence[ServedVersion]] = list,
        on_loaded: Callable[[LoadedVersion], None] = lambda _: None,
    ) -> None:
        """Take what to read and what to keep in step.

        Args:
            pool: Written by this watcher only.
            loader: Loads versions.
            view: The registry as it is.
            follow: Brings a model's pointer into step with its marks and gives it (`reconcile_pointer`).
            notifications: Wakes us up.
            metrics: Loads and swaps are counted there.
            keep_previous_s: By model, how long its former Production version stays loaded, in seconds.
            load_ahead: By model, how many versions are loaded before anything points at them, at most.
            promoted: By model, the versions with an open promotion, the newest promotion first.
            pinned: By model, digests of the files with which its versions passed the gates.
            reconcile_s: How long to wait for a notification before looking at everything, in seconds.
            on_change: Called whenever what is served or has failed changed.
            served_last: What this machine served last, for a start without PostgreSQL.
            on_loaded: Called with each version that the pool got.
        """
        self._pool = pool
        self._loader = loader
        self._view = view
        self._follow = follow
        self._notifications = notifications
        self._metrics = metrics
        self._keep_previous_s = keep_previous_s
        self._load_ahead = load_ahead
        self._promoted = promoted
        self._read_pins = pinned
        self._pins: dict[str, Mapping[int, str]] = {}
        self._reconcile_s = reconcile_s
        self._on_change = on_change
        self._served_last = served_last
        self._on_loaded = on_loaded
        self._digests: dict[tuple[str, int, str | None], str] = {}
        self._inbox: queue.SimpleQueue[str | _LoadEnded | _Improved | _Stop | None] = queue.SimpleQueue()
        self._agenda = Agenda(self._everything)
        self._wanted: dict[str, Wanted] = {}
        self._loading: set[tuple[str, int, str | None]] = set()
        self._retries = Retries()
        self._looked = threading.Event()
        self._ready = threading.Event()
        self._stopped = threading.Event()
        self._threads = ThreadPoolExecutor(LOADERS, thread_name_prefix="load")
        self._decider = threading.Thread(target=self._decide, name="watcher", daemon=True)
        # it waits inside PostgreSQL's client and holds nothing that must be given back, so it may end with the process
        self._listener = threading.Thread(target=self._listen, name="watcher-listen", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._decider.start()
        self._listener.start()

    def stop(self) -> None:
        """End watching; what is loaded goes on answering."""
        self._stopped.set()
        self._inbox.put(_Stop())
        self._decider.join(5)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def improve(self, before: LoadedVersion, better: LoadedVersion) -> None:
        """Have another form of a loaded version put in its place."""
        self._inbox.put(_Improved(before, better))

    @property
    def is_ready(self) -> bool:
        """Whether the first look is done and every Production version that can be loaded is loaded."""
        return self._ready.is_set()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait for `is_ready`."""
        return self._ready.wait(timeout_s)

    # what wakes us up ------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._notifications.listen(self._reconcile_s) as names:
                    for name in names:
                        if self._stopped.is_set():
                            return
                        self._inbox.put(name)
            except UnavailableError as exc:
                logger.warning("event=listen_failed reason=%r", str(exc))
                self._stopped.wait(_LOOK_AGAIN_S[0])

    def _decide(self) -> None:
        look_at, pause_s = float("-inf"), _LOOK_AGAIN_S[0]
        while True:
            news = self._news(look_at)
            if any(isinstance(one, _Stop) for one in news):
                return
            for one in news:
                if isinstance(one, _LoadEnded):
                    self._load_ended(one)
                elif isinstance(one, _Improved):
                    self._pool.improve(one.before, one.better)
                elif isinstance(one, str):
                    self._agenda.add(one)
            try:
                if None in news or time.monotonic() >= look_at:
                    self._agenda.add(None)
                    look_at = time.monotonic() + self._reconcile_s
                self._look_at(self._agenda.take())
                if self._agenda.been_round:
                    self._looked.set()
                    pause_s = _LOOK_AGAIN_S[0]
            except UnavailableError as exc:
                logger.warning("event=look_failed retry_in_s=%.0f reason=%r", pause_s, str(exc))
                if not self._looked.is_set():
                    self._begin_with_served_last()
                look_at, pause_s = self._look_again(pause_s)
            # a broken assumption must not end the only thread that follows the registry: say so, and look again
            except Exception:
                logger.exception("event=look_failed retry_in_s=%.0f", pause_s)
                look_at, pause_s = self._look_again(pause_s)
            for model in self._retries.due():
                self._apply(model)
            self._settle()

    def _look_again(self, pause_s: float) -> tuple[float, float]:
        """Have everything looked at after a pause; gives when, and the pause after that one."""
        self._agenda.clear()
        return time.monotonic() + pause_s, min(pause_s * 2, _LOOK_AGAIN_S[1])

    def _news(self, look_at: float) -> list[str | _LoadEnded | _Improved | _Stop | None]:
        wait_s = max(0.0, min(look_at - time.monotonic(), self._retries.next_in_s()))
        try:
            news = [self._inbox.get(timeout=wait_s if self._agenda.is_empty else 0)]
        except queue.Empty:
            return []
        while not self._inbox.empty():
            news.append(self._inbox.get_nowait())
        return news

    # what should be --------------------------------------------------------------------------------------------------

    def _begin_with_served_last(self) -> None:
        """Answer as this machine answered last, until the registry can be read."""
        versions = self._served_last()
        if not versions:
            return
        logger.warning("event=beginning_with_served_last models=%d", len(versions))
        self._pool.know([one.model for one in versions])
        for one in versions:
            version = one.model_version
            self._digests[_key(version)] = one.digest
            self._wanted[one.model] = Wanted(version, one.generation)
            self._apply(one.model)
        self._looked.set()

    def _everything(self) -> Sequence[str]:
        """Begin a round."""
        models = self._view.models()
        self._digests.clear()
        self._pool.know(models)
        for gone in set(self._wanted) - set(models):
            self._wanted[gone] = Wanted()
            self._apply(gone)
            del self._wanted[gone]
            self._pins.pop(gone, None)
        return models

    def _look_at(self, models: Iterable[str]) -> None:
        for model in models:
            pointer = self._follow(model)
            with self._view.moment():
                versions, promoted = self._view.versions(model), self._promoted(model)
                self._pins[model] = self._read_pins(model)
            if versions and not self._pool.knows(model):
                self._pool.know([*self._pool.models(), model])
            wanted = want(
                pointer,
                versions,
                promoted=promoted,
                load_ahead=self._load_ahead(model),
                keep_previous_s=self._keep_previous_s(model),
                now=datetime.now(UTC),
            )
            before = self._wanted.get(model)
            if wanted.champion is not None and (before is None or before.generation != wanted.generation):
                # somebody has just decided for this version: an earlier failure to load it ahead is tried anew
                self._retries.forget(_key(wanted.champion))
            self._wanted[model] = wanted
            self._apply(model)

    # making it so ----------------------------------------------------------------------------------------------------

    def _apply(self, model: str) -> None:
        wanted = self._wanted.get(model)
        if wanted is None:
            return
        if wanted.champion is None:
            self._withdraw(model)
        elif (loaded := self._have(wanted.champion)) is not None:
            self._swap(loaded, wanted.generation)
        for version in wanted.all:
            self._have_loaded(version)
        for number in self._pool.keep_only(model, {version.version for version in wanted.all}):
            logger.info("event=version_dropped model=%r version=%d", model, number)

    def _have(self, version: ModelVersion) -> LoadedVersion | None:
        loaded = self._pool.get(version.model, version.version)
        if loaded is None or loaded.source != version.source:
            return None
        # loaded ahead, before its gates had passed: perhaps from other files than those that passed
        pinned = self._pins.get(version.model, {}).get(version.version)
        return loaded if pinned is None or loaded.digest == pinned else None

    def _swap(self, loaded: LoadedVersion, generation: int) -> None:
        before = self._pool.swap(loaded, generation)
        if before is loaded:
            return
        logger.info(
            "event=version_swapped model=%r version=%d generation=%d former=%s",
            *(loaded.model, loaded.version, generation, before.version if before else None),
        )
        self._metrics.swaps.labels(loaded.model).inc()
        if before is not None:
            self._metrics.serving.labels(loaded.model, str(before.version)).set(0)
        self._metrics.serving.labels(loaded.model, str(loaded.version)).set(1)
        self._on_change()

    def _withdraw(self, model: str) -> None:
        before = self._pool.withdraw(model)
        if before is not None:
            logger.info("event=version_withdrawn model=%r version=%d", model, before.version)
            self._metrics.serving.labels(model, str(before.version)).set(0)
            self._on_change()

    def _have_loaded(self, version: ModelVersion) -> None:
        key = _key(version)
        loaded = self._have(version)
        # a promotion's gate has come to its verdict since: what it lets answer is loaded beside
        judged = loaded is not None and loaded.quantised_later and version.version in self._pins.get(version.model, {})
        if (loaded is None or judged) and key not in self._loading and self._retries.may_try(key):
            self._loading.add(key)
            # where nothing answers, a version that a logged request kills is still better than none
            warm = version != self._wanted[version.model].champion or self._pool.serving(version.model) is not None
            self._threads.submit(self._load, version, self._digests.get(key), warm)

    def _load(self, version: ModelVersion, digest: str | None, warm: bool) -> None:
        began = time.perf_counter()
        ended: _LoadEnded
        how = partial(self._loader.load, warm=warm)
        load = how if digest is None else partial(self._loader.load_again, digest=digest)
        try:
            ended = _LoadEnded(version, load(version), None)
        except MlflowExtError as exc:
            ended = _LoadEnded(version, None, exc)
        # on a pool's thread an unexpected error would vanish, and the version would count as loading for ever
        except Exception as exc:
            logger.exception("event=load_crashed model=%r version=%d", version.model, version.version)
            ended = _LoadEnded(version, None, MlflowExtError(f"loading failed unexpectedly ({type(exc).__name__})"))
        self._metrics.load_time.labels(version.model).observe(time.perf_counter() - began)
        self._inbox.put(ended)

    def _load_ended(self, ended: _LoadEnded) -> None:
        version, key = ended.version, _key(ended.version)
        self._loading.discard(key)
        self._metrics.loads.labels(version.model, "loaded" if ended.loaded else "failed").inc()
        if ended.loaded is not None:
            self._retries.forget(key)
            self._pool.add(ended.loaded)
            self._on_loaded(ended.loaded)
        else:
            passing = isinstance(ended.error, UnavailableError)
            again_s = self._retries.failed(key, passing=passing)
            self._pool.fail(version.model, version.version, str(ended.error))
            logger.error(
                "event=version_not_loaded model=%r version=%d retry_in_s=%.0f reason=%r",
                *(version.model, version.version, again_s, str(ended.error)),
            )
            self._on_change()
        self._apply(version.model)

    def _settle(self) -> None:
        if self._ready.is_set() or not self._looked.is_set():
            return
        for model, wanted in self._wanted.items():
            champion = wanted.champion
            if champion is None or self._have(champion) is not None:
                continue
            if champion.version not in self._pool.failures(model):
                return
        self._ready.set()
        logger.info("event=ready models=%d", len(self._wanted))
        self._on_change()


def _key(version: ModelVersion) -> tuple[str, int, str | None]:
    return version.model, version.version, version.source
