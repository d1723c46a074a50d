"""The scoring application inside the test's process: real parts, no registry and no database behind it."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from starlette.types import ASGIApp

from mlflow_ext.bootstrap import Services, lifecycle
from mlflow_ext.config import Settings
from mlflow_ext.spool import PredictionRecord, SpoolWriter, read_spool, spool_files
from mlflow_ext.spool_room import SpoolBounds
from mlflow_ext.store.answered_requests import AnsweredRequests
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.feedback import Feedback
from serving.admission import Admission
from serving.app import create_app
from serving.authority import Authority
from serving.batcher import Batcher
from serving.control import Control
from serving.host.opened import OpenedVersion
from serving.hot_path import HotPath
from serving.metrics import Metrics
from serving.openinference.short_way import ShortInference
from serving.parts import Parts
from serving.pending import Pending
from serving.pool import LoadedVersion, Pool
from serving.prediction_log import PredictionLog
from serving.scoring import Scorer
from serving.tracing import traced
from tests.unit.serving.host_here import HostHere, hosted

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


class Named:
    """A named fake model (sum, slow, failing …) without a signature."""

    class metadata:  # noqa: N801  (what MLflow's scoring code asks a model for)
        """No signature, no params."""

        @staticmethod
        def get_params_schema() -> None:
            """None."""

        @staticmethod
        def get_output_schema() -> None:
            """None."""

        @staticmethod
        def _is_signature_from_type_hint() -> bool:
            return False

    def __init__(self, predict: Callable[[Any], Any]) -> None:
        """Take what predicting means."""
        self._predict = predict

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """Predict."""
        return self._predict(data)


def sums(data: Any) -> Any:
    """Add up each row."""
    return np.asarray(data).sum(axis=1)


def loaded(model: str, version: int, predict: Callable[[Any], Any] = sums, **more: Any) -> LoadedVersion:
    """Make a loaded version of a fake."""
    return hosted(OpenedVersion(model, version, f"models:/{model}/{version}", Named(predict), None), **more)


@contextlib.contextmanager
def served(application: ASGIApp, http: Any = "httptools", *, keep_alive: bool = True) -> Iterator[httpx.Client]:
    """Run an application on a real web server in a thread; gives a client, with lasting connections or without."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            application,
            loop="uvloop",
            http=http,
            ws="none",
            log_config=None,
            lifespan="off",
            # a busy machine may keep a client waiting for seconds between two requests on one connection
            timeout_keep_alive=600,
        )
        server = uvicorn.Server(config)
        # signal handlers belong to the main thread, which is pytest's
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            limits = httpx.Limits(max_keepalive_connections=None if keep_alive else 0)
            with httpx.Client(base_url=url, timeout=60, limits=limits) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@dataclass(frozen=True, slots=True)
class App:
    """The application and what is behind it."""

    client: httpx.Client
    parts: Parts
    spool: Path

    @property
    def pool(self) -> Pool:
        """What is loaded."""
        return self.parts.pool

    def records(self) -> list[PredictionRecord]:
        """Give everything in the prediction log."""
        return [record for path in spool_files(self.spool) for record, _ in read_spool(path)]


@contextlib.contextmanager
def app(
    directory: Path, *versions: LoadedVersion, authority: Authority | None = None, **settings: Any
) -> Iterator[App]:
    """Make the application with versions in Production; everybody may ask unless an authority is given."""
    configured = Settings.model_validate({"data_dir": directory, "database_url": NOWHERE, **settings})
    pool, metrics = Pool(), Metrics()
    pool.know([version.model for version in versions])
    for version in versions:
        if isinstance(version.host, HostHere):
            version.host.configure(configured)
        pool.add(version)
        pool.swap(version, 1)
    bounds = SpoolBounds(configured.spool_max_bytes, configured.spool_min_free_bytes)
    writer = SpoolWriter(configured.spool_dir, bounds=bounds)
    log = PredictionLog(writer, metrics, configured.policy, configured.keyed_hash())
    engine = make_engine(NOWHERE)
    with ThreadPoolExecutor(configured.scoring_threads) as threads:
        batcher = Batcher(log, metrics, threads)
        parts = Parts(
            settings=configured,
            authority=authority or Authority(open_to_all=True),
            admission=Admission(configured.scoring_threads + configured.max_queued_requests, metrics),
            pool=pool,
            scorer=Scorer(pool, log, metrics, threads, configured.request_timeout_s),
            batcher=batcher,
            pending=Pending(pool, batcher, metrics),
            metrics=metrics,
            log=log,
            feedback=Feedback(engine),
            threads=threads,
            control=Control(lifecycle(Services(configured, engine)), AnsweredRequests(engine)),
            deciding=threads,
            is_ready=lambda: True,
        )
        hot = HotPath(ShortInference(create_app(parts), parts), parts)
        with traced(configured, metrics, hot) as (application, http), served(application, http) as client:
            yield App(client, parts, configured.spool_dir)
    log.close()
    engine.dispose()
