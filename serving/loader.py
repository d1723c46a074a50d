"""From a version in the registry to one that can answer: opened in a model host, its plan brought here.

What happens there: `host/opening.py`. When to do so: `watcher.py`. A call takes from milliseconds to minutes and
belongs on a thread of its own.
"""

import gc
import json
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from numpy.typing import NDArray

from mlflow_ext.config import Settings
from mlflow_ext.domain.pins import Manifest
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.domain.twins import JudgedTwin
from mlflow_ext.errors import MlflowExtError
from mlflow_ext.policy import ModelPolicy
from serving.bounds import Bounds
from serving.compiled_plans import unpack
from serving.host_opening import Hosts, OpenedHost
from serving.host_request import HostRequest
from serving.kernels import CompiledKernel, Rows
from serving.metrics import Metrics
from serving.model_host import Host, ModelHost
from serving.plan import CompiledPlan, Plan, plan_of, write
from serving.pool import LoadedVersion

logger = logging.getLogger(__name__)

SEGMENTS = 4
"""Logged requests are looked for in so many of a model's newest segments."""


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """What every load has in common.

    Attributes:
        mlflow_url: Address of MLflow's server.
        directory: Where models are kept, `<data_dir>/models`.
        timeout_s: As for `HostRequest`.
        memory_bytes: As for `HostRequest`.
        threads: As for `HostRequest`.
        bounds: As for `HostRequest`.
        request_timeout_s: How long the answer to a request may take.
        hash_key: Secret of the keyed hashes of personal data; `None` without one.
    """

    mlflow_url: str
    directory: Path
    timeout_s: float
    memory_bytes: int
    threads: int
    bounds: Bounds
    request_timeout_s: float
    hash_key: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> "LoadSettings":
        """Take them from the settings."""
        key = settings.privacy_key
        return cls(
            mlflow_url=settings.mlflow_url,
            directory=settings.models_dir,
            timeout_s=settings.load_timeout_s,
            memory_bytes=settings.load_memory_bytes or psutil.virtual_memory().total // 2,
            threads=settings.scoring_threads,
            bounds=Bounds.of(settings),
            request_timeout_s=settings.request_timeout_s,
            hash_key=key.get_secret_value().encode() if key is not None else None,
        )


class Loader:
    """Loads versions."""

    def __init__(
        self,
        hosts: Hosts,
        settings: LoadSettings,
        policy: Callable[[str], ModelPolicy],
        pinned: Callable[[str, int], Manifest | None],
        judged: Callable[[str, int], JudgedTwin | None],
        metrics: Metrics,
        logged: Callable[[str], Sequence[str]] = lambda _: (),
    ) -> None:
        """Take what a load needs.

        Args:
            hosts: Opens model hosts.
            settings: What every load has in common.
            policy: By model.
            pinned: By model and version, the files that passed the gates.
            judged: By model and version, what became of its twin when its gates were asked.
            metrics: Deaths of hosts are counted there.
            logged: By model, the segments with its last logged requests, the newest first.
        """
        self._hosts = hosts
        self._settings = settings
        self._policy = policy
        self._pinned = pinned
        self._judged = judged
        self._metrics = metrics
        self._logged = logged
        # few at a time: a machine on which many hosts have died is in trouble already
        self._reopening = ThreadPoolExecutor(2, thread_name_prefix="reopen")

    def load(self, version: ModelVersion, *, warm: bool) -> LoadedVersion:
        """Load one version and let it predict its input example once, when it has one.

        Args:
            version: The version.
            warm: Whether it predicts the last logged requests as well, before anything points at it.

        Raises:
            NotFoundError: MLflow does not have it.
            UnavailableError: MLflow or its artifact store does not answer.
            UnsafeModelError: Its files ask for more trust than policy gives, or are not those that passed the gates.
            ModelLoadError: It cannot be loaded, cannot answer its own input example, or dies of a logged request.
        """
        logged = self._logged_requests(version.model) if warm else ()
        pinned = self._pinned(version.model, version.version)
        return self._load(self._request(version, pinned=pinned, logged=logged))

    def load_again(self, version: ModelVersion, digest: str) -> LoadedVersion:
        """Load a version that was served from here before, without PostgreSQL and MLflow.

        Args:
            version: The version.
            digest: Of the manifest of its files, as they were when they were served.

        Raises:
            UnavailableError: This machine has no copy of its files, or another one; MLflow has to be asked.
            UnsafeModelError: As for `load`.
            ModelLoadError: As for `load`.
        """
        return self._load(self._request(version, digest=digest))

    def with_twin(self, loaded: LoadedVersion) -> LoadedVersion:
        """Give a version with its twin, made anew in a host of its own; or with the reason why it has none."""
        version = ModelVersion(loaded.model, loaded.version, source=loaded.source, workspace=loaded.workspace)
        try:
            better = self._load(self._request(version, digest=loaded.digest, make_twin=True))
        except MlflowExtError as exc:
            return replace(loaded, twin_refused=str(exc), twin_later=False)
        found = better.engine == "onnx"
        logger.info(
            "event=twin_tried model=%r version=%d engine=%s twin_refused=%r",
            *(better.model, better.version, better.engine, better.twin_refused),
        )
        return better if found else replace(loaded, twin_refused=better.twin_refused, twin_later=False)

    def _request(
        self,
        version: ModelVersion,
        *,
        pinned: Manifest | None = None,
        digest: str | None = None,
        make_twin: bool = False,
        logged: tuple[str, ...] = (),
    ) -> HostRequest:
        common, policy = self._settings, self._policy(version.model)
        return HostRequest(
            version=version,
            mlflow_url=common.mlflow_url,
            directory=common.directory,
            policy=policy.serving,
            pinned=pinned,
            digest=digest,
            judged=self._judged_twin(version) if pinned is not None else None,
            make_twin=make_twin,
            logged=logged,
            timeout_s=common.timeout_s,
            memory_bytes=common.memory_bytes,
            threads=common.threads,
            bounds=common.bounds,
            privacy=policy.privacy if policy.privacy.names else None,
            hash_key=common.hash_key if policy.privacy.hash else None,
        )

    def _logged_requests(self, model: str) -> tuple[str, ...]:
        if self._policy(model).serving.warm_rows == 0:
            return ()
        try:
            return tuple(self._logged(model))
        # a version can be loaded without
        except MlflowExtError as exc:
            logger.warning("event=logged_requests_not_found model=%r reason=%r", model, str(exc))
            return ()

    def _judged_twin(self, version: ModelVersion) -> JudgedTwin | None:
        try:
            return self._judged(version.model, version.version)
        # made of the same files, another one is as good
        except MlflowExtError as exc:
            logger.warning(
                "event=twin_not_found model=%r version=%d reason=%r", version.model, version.version, str(exc)
            )
            return None

    def _load(self, request: HostRequest) -> LoadedVersion:
        began = time.perf_counter()
        version = request.version
        opened = self._hosts.open(request)
        told = opened.message
        try:
            compiled = None if told.plan is None else unpack(told.plan, opened.arrays)
            # they live as long as the plan
            opened.arrays = []
        except MlflowExtError:
            opened.close()
            raise
        host = self._host(request, opened)
        plan = None if compiled is None else planned(compiled, host)
        if plan is not None:
            warm(plan, told.bodies)
        # what a load leaves lives long: Python's collector need not stop all requests to look at it again and again
        gc.freeze()
        loaded = LoadedVersion(
            *(version.model, version.version, version.source, host),
            load_s=time.perf_counter() - began,
            workspace=version.workspace,
            digest=told.digest,
            plan=plan,
            twin_refused=told.twin_refused,
            twin_later=told.twin_later,
            quantised_later=request.pinned is None and request.policy.quantise == "int8" and compiled is not None,
            warmed_rows=told.warmed_rows,
            passed_over=told.passed_over,
            inputs=None if told.inputs is None else tuple(told.inputs),
            description=json.loads(told.described),
            metadata=told.metadata,
        )
        logger.info(
            "event=version_loaded model=%r version=%d load_s=%.3f engine=%s warmed_rows=%d passed_over=%d%s",
            *(version.model, version.version, loaded.load_s, loaded.engine, loaded.warmed_rows, loaded.passed_over),
            f" twin_refused={loaded.twin_refused!r}" if loaded.twin_refused else "",
        )
        return loaded

    def _host(self, request: HostRequest, opened: OpenedHost) -> ModelHost:
        model, version = request.version.model, request.version.version
        # just the same files once more, wherever MLflow is then
        again = replace(request, digest=opened.message.digest, make_twin=False)
        return ModelHost(
            f"{model} {version}",
            opened,
            partial(self._hosts.open, again),
            self._reopening,
            self._settings.threads,
            self._settings.request_timeout_s,
            self._metrics.host_deaths.labels(model).inc,
        )


def planned(compiled: CompiledPlan, host: Host) -> Plan:
    """Make the plan of a version as it works in a scoring process: what is better done in its host is done there."""
    compute = compiled.compute
    if compute is None:
        return plan_of(compiled, _nowhere, host.predict)
    few = compute.few_rows if isinstance(compute, CompiledKernel) else None
    return plan_of(compiled, compute) if few is None else plan_of(compiled, compute, host.predict, few)


def warm(plan: Plan, bodies: Sequence[bytes]) -> None:
    """Let a plan answer requests that its version has answered, so that no client waits for what the first one does."""
    for body in bodies:
        try:
            rows = plan.rows(body)
            if rows is None or plan.goes_apart(len(rows)):
                continue
            predictions = plan.predict(rows)
            if predictions is not None:
                write(predictions)
        # a runtime raises what it likes; clients' requests go to MLflow's code then, and may be others
        except Exception as exc:
            logger.warning("event=plan_not_warmed engine=%s reason=%r", plan.engine, str(exc)[:200])


def _nowhere(rows: Rows) -> NDArray[Any]:
    raise TypeError("the original model is in its host")
