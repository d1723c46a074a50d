"""One scoring process: builds the parts, answers on a socket that its parent has opened, and stops in order.

`python -m serving.process --fd N`, started by `command.py`. Which processes there are is decided there.
"""

import argparse
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from mlflow_ext.bootstrap import lifecycle, services
from mlflow_ext.config import Settings, load
from mlflow_ext.giving_way import be_prompt
from mlflow_ext.spool import SpoolWriter
from mlflow_ext.spool_room import SpoolBounds
from mlflow_ext.store.answered_requests import AnsweredRequests
from mlflow_ext.store.feedback import Feedback
from mlflow_ext.store.judged_twins import JudgedTwins
from mlflow_ext.store.notifications import PgNotifications
from mlflow_ext.store.pins import SqlPins
from mlflow_ext.store.replicas import Replicas
from mlflow_ext.store.segments import Segments
from serving.accepting import Accepting
from serving.admission import Admission
from serving.app import create_app
from serving.batcher import Batcher
from serving.control import Control
from serving.heartbeat import Heartbeat, state_of
from serving.host_opening import Hosts
from serving.hot_path import HotPath
from serving.last_served import LastServed
from serving.late_twins import LateTwins
from serving.loader import SEGMENTS, Loader, LoadSettings
from serving.log_lag import LogLag
from serving.metrics import Metrics
from serving.openinference.short_way import ShortInference
from serving.parts import Parts
from serving.pending import Pending
from serving.pool import Pool
from serving.prediction_log import PredictionLog
from serving.scoring import Scorer
from serving.token_watch import watched_authority
from serving.tracing import traced
from serving.watcher import Watcher

logger = logging.getLogger(__name__)

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_SWITCH_S = 0.0005
READY_WITHIN_S = 60.0
"""How long a restarted process lets requests wait in the socket's queue until its models are loaded."""


class Server(uvicorn.Server):
    """uvicorn, which on SIGTERM first says that it is not ready, then stops accepting, then ends what is in flight."""

    def __init__(self, config: uvicorn.Config, parts: Parts) -> None:
        """Take the application's parts, to tell them that the end is near."""
        super().__init__(config)
        self._parts = parts
        self._stop_at = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; a second signal ends the wait for the requests in flight."""
        if self._parts.stopping.is_set():
            self.should_exit = self.force_exit = True
            return
        self._parts.stopping.set()
        self._stop_at = time.monotonic() + self._parts.settings.serving_drain_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin the application, then accept connections one at a time."""
        await super().startup(sockets=[])
        connection: Any = self.config.http_protocol_class
        make = partial(connection, config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        servers: list[Any] = [Accepting(listening, make) for listening in sockets or ()]
        self.servers = servers

    async def on_tick(self, counter: int) -> bool:
        """Say whether it is time to stop accepting; comes ten times a second."""
        if counter % 10 == 0:
            self._parts.pending.measure()
        return await super().on_tick(counter) or time.monotonic() >= self._stop_at


@contextmanager
def scoring_parts(settings: Settings, hosts: Path) -> Iterator[tuple[Parts, Watcher]]:
    """Build the parts of a scoring process, start what runs beside it, and stop that at the end."""
    with ExitStack() as stack:
        services_ = stack.enter_context(services(settings, name="mlflow-ext scoring"))
        engine, policy = services_.engine, settings.policy
        metrics, pool = Metrics(), Pool()
        settings.require_privacy_key()
        bounds = SpoolBounds(settings.spool_max_bytes, settings.spool_min_free_bytes, settings.serving_workers)
        log = PredictionLog(SpoolWriter(settings.spool_dir, bounds=bounds), metrics, policy, settings.keyed_hash())
        stack.callback(log.close)
        threads = ThreadPoolExecutor(settings.scoring_threads, thread_name_prefix="score")
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        waiting = ThreadPoolExecutor(4, thread_name_prefix="wait")
        stack.callback(waiting.shutdown, wait=False, cancel_futures=True)
        heartbeat = Heartbeat(Replicas(engine), settings.serving_url, partial(state_of, pool, log))
        last_served = LastServed(settings.data_dir / "served.json")

        def changed() -> None:
            heartbeat.changed()
            last_served.write(pool)

        # each takes up to two connections: together no more than the engine has beside those of the rest
        deciding = ThreadPoolExecutor(4, thread_name_prefix="decide")
        stack.callback(deciding.shutdown, wait=False, cancel_futures=True)
        pins, segments = SqlPins(engine), Segments(engine)
        lives = lifecycle(services_)
        loader = Loader(
            *(Hosts(hosts), LoadSettings.of(settings), policy, pins.manifest, JudgedTwins(engine).of, metrics),
            logged=lambda model: [segment.uri for segment in segments.newest(model, SEGMENTS)],
        )
        late = LateTwins(loader.with_twin)
        watcher = Watcher(
            pool=pool,
            loader=loader,
            view=lives.view,
            follow=lives.follow,
            notifications=PgNotifications(settings.require_database_url(), name="mlflow-ext scoring listen"),
            metrics=metrics,
            keep_previous_s=lambda model: policy(model).keep_previous_s,
            load_ahead=lambda model: policy(model).serving.load_ahead,
            promoted=lives.promotions.open_versions,
            pinned=pins.of,
            reconcile_s=settings.reconcile_s,
            on_change=changed,
            served_last=last_served.read,
            on_loaded=late.offer,
        )
        late.give = watcher.improve
        late.start()
        heartbeat.start()
        stack.callback(heartbeat.stop)
        watcher.start()
        stack.callback(watcher.stop)
        lag = LogLag(settings.spool_dir, segments.offsets, metrics.spool_lag)
        lag.start()
        stack.callback(lag.stop)
        authority = stack.enter_context(watched_authority(settings))
        batcher = Batcher(log, metrics, threads)
        parts = Parts(
            settings=settings,
            authority=authority,
            batcher=batcher,
            pending=Pending(pool, batcher, metrics),
            admission=Admission(settings.scoring_threads + settings.max_queued_requests, metrics),
            pool=pool,
            scorer=Scorer(pool, log, metrics, threads, settings.request_timeout_s),
            metrics=metrics,
            log=log,
            feedback=Feedback(engine),
            threads=waiting,
            control=Control(lives, AnsweredRequests(engine)),
            deciding=deciding,
            is_ready=lambda: watcher.is_ready and authority.is_ready,
        )
        yield parts, watcher


def run(settings: Settings, fd: int, hosts: Path, *, restarted: bool) -> None:
    """Answer on a listening socket until SIGTERM or SIGINT.

    Args:
        settings: The settings.
        fd: File descriptor of the socket.
        hosts: Unix socket of the process that model hosts are forked from.
        restarted: An earlier process on this socket died: accept only when ready, so that waiting clients get answers.
    """
    # for the registry, where a request asks for a change of it; models and MLflow's scoring code are in the hosts
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    with (
        scoring_parts(settings, hosts) as (parts, watcher),
        socket.socket(fileno=fd) as listening,
        ExitStack() as stack,
    ):
        hot = HotPath(ShortInference(create_app(parts), parts), parts)
        if restarted:
            watcher.wait_ready(READY_WITHIN_S)
        app, connection = stack.enter_context(traced(settings, parts.metrics, hot))
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=connection,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            # nothing here asks for a client's address or scheme
            proxy_headers=False,
            # longer than the idle time of usual clients and balancers, so that it is they who close, between requests
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(settings.serving_stop_s)),
        )
        # a thread that follows the registry would otherwise hold requests up for 5 ms at a time
        sys.setswitchinterval(_SWITCH_S)
        # what was begun before only follows the registry; requests are answered by threads that this one begins
        be_prompt()
        logger.info("event=scoring_started pid=%d", os.getpid())
        Server(config, parts).run(sockets=[listening])
    logger.info("event=scoring_stopped pid=%d", os.getpid())


def main() -> None:
    """Read the command line of a scoring process."""
    arguments = argparse.ArgumentParser(prog="python -m serving.process")
    arguments.add_argument("--fd", type=int, required=True, help="listening socket")
    arguments.add_argument("--hosts", type=Path, required=True, help="Unix socket of the process of the model hosts")
    arguments.add_argument("--restarted", action="store_true", help="accept only when ready")
    given = arguments.parse_args()
    settings = load()
    logging.basicConfig(level=settings.log_level, format=LOG_FORMAT)
    # libraries that log each request or connection
    for name in ("uvicorn.access", "urllib3", "httpx", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    run(settings, given.fd, given.hosts, restarted=given.restarted)


if __name__ == "__main__":
    main()
