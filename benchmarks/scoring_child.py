"""A scoring process without registry and database around it: one fixed model, the real parts, `python -m` this file.

What is measured with it is in `prediction_log.py` and `traces.py`.
"""

import argparse
import gc
import os
import socket
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import uvicorn
from numpy.typing import NDArray
from starlette.types import ASGIApp

from mlflow_ext.bootstrap import Services, lifecycle
from mlflow_ext.config import Settings
from mlflow_ext.errors import UnavailableError
from mlflow_ext.spool import PredictionRecord, SpoolWriter
from mlflow_ext.spool_room import SpoolBounds
from mlflow_ext.store.answered_requests import AnsweredRequests
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.feedback import Feedback
from serving.admission import Admission
from serving.app import create_app
from serving.asked import Asked
from serving.authority import Authority
from serving.batcher import Batcher
from serving.codecs.answer import Answer
from serving.compiled_plans import pack, unpack
from serving.control import Control
from serving.hot_path import HotPath
from serving.kernels import Rows
from serving.loader import planned
from serving.metrics import Metrics
from serving.openinference.short_way import ShortInference
from serving.parts import Parts
from serving.pending import Pending
from serving.pool import LoadedVersion, Pool
from serving.prediction_log import PredictionLog, Rewritten, Understood
from serving.process import Server
from serving.scoring import Scorer
from serving.short_connection import short
from serving.tracing import traced

MODEL = "bench"
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
OFF = "off"
POLICIES: dict[str, dict[str, object]] = {
    OFF: {},
    "durable": {},
    "sampled": {"prediction_log": {"mode": "sampled", "share": 0.1}},
    "private": {"privacy": {"drop": ["mean radius"], "hash": ["mean texture"]}},
}
"""How the log is set, by the word that the table shows."""
TRACES: dict[str, float | None] = {"without": None, "traces off": None, "traces 1 %": 0.01, "traces of all": 1.0}
"""Share of the requests that is traced; the first is without the code that could."""


class NoLog(PredictionLog):
    """Writes nothing."""

    def append(
        self,
        loaded: LoadedVersion,
        records: Sequence[PredictionRecord],
        understood: Understood | Rewritten | None = None,
    ) -> bool:
        """Do nothing."""
        return True


class NoHost:
    """Takes the place of a model host, which nothing that is measured here asks."""

    trouble = None
    pending = 0

    async def ask(self, asked: Asked, timeout_s: float) -> Answer:
        """Refuse."""
        raise UnavailableError("there is no model host here")

    async def predict(self, rows: Rows) -> NDArray[Any] | None:
        """Refuse."""
        raise UnavailableError("there is no model host here")


def packed(files: Path) -> tuple[bytes, list[bytearray], list[str]]:
    """Compile a model's plan, in another process, as its host does; gives it as it is sent, and the columns' names."""
    from mlflow_ext.registry.loading import load_judged
    from serving.codecs import mlflow_protocol
    from serving.host.compiling import compile_plan
    from serving.host.opened import OpenedVersion

    model = load_judged(files)
    schema = model.metadata.get_input_schema()
    opened = OpenedVersion(MODEL, 1, None, model, schema)
    made = compile_plan(model, schema, partial(mlflow_protocol.accepted, opened))
    if made is None or made.compiled.engine != "kernel":
        raise SystemExit("the model got no compiled plan, so there is nothing to measure")
    plan, arrays = pack(made.compiled)
    return plan, [bytearray(array) for array in arrays], schema.input_names()


def loaded(files: Path) -> LoadedVersion:
    """Load the model's plan; the model itself, MLflow and scikit-learn stay out of this process, as in the service."""
    with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:
        plan, arrays, names = elsewhere.submit(packed, files).result()
    host = NoHost()
    found = LoadedVersion(MODEL, 1, None, host, plan=planned(unpack(plan, arrays), host), inputs=tuple(names))
    gc.freeze()
    return found


def run(mode: str, files: Path, directory: Path, port: int) -> None:
    """Answer until SIGTERM."""
    share = TRACES.get(mode)
    settings = Settings.model_validate(
        {
            "data_dir": directory,
            "database_url": NOWHERE,
            "privacy_key": "0" * 32,
            "models": {MODEL: POLICIES.get(mode, {})},
            **({} if share is None else {"traces_url": os.environ["COLLECTOR"], "traces_share": share}),
            "spool_min_free_bytes": 0,
        }
    )
    version, pool, metrics = loaded(files), Pool(), Metrics()
    pool.know([MODEL])
    pool.add(version)
    pool.swap(version, 1)
    writer = SpoolWriter(settings.spool_dir, bounds=SpoolBounds(settings.spool_max_bytes, 0))
    kind = NoLog if mode == OFF else PredictionLog
    log = kind(writer, metrics, settings.policy, settings.keyed_hash())
    engine = make_engine(NOWHERE)
    with (
        ThreadPoolExecutor(settings.scoring_threads) as threads,
        socket.create_server(("127.0.0.1", port)) as listening,
        ExitStack() as stack,
    ):
        batcher = Batcher(log, metrics, threads)
        parts = Parts(
            settings=settings,
            authority=Authority(open_to_all=True),
            admission=Admission(settings.scoring_threads + settings.max_queued_requests, metrics),
            pool=pool,
            scorer=Scorer(pool, log, metrics, threads, settings.request_timeout_s),
            batcher=batcher,
            pending=Pending(pool, batcher, metrics),
            metrics=metrics,
            log=log,
            feedback=Feedback(engine),
            threads=threads,
            control=Control(lifecycle(Services(settings, engine)), AnsweredRequests(engine)),
            deciding=threads,
            is_ready=lambda: True,
        )
        hot = HotPath(ShortInference(create_app(parts), parts), parts)
        application: ASGIApp = hot
        connection = short(settings, metrics, hot)
        if mode != "without":
            application, connection = stack.enter_context(traced(settings, metrics, hot))
        config = uvicorn.Config(
            *(application, "127.0.0.1", port),
            loop="uvloop",
            http=connection,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        Server(config, parts).run(sockets=[listening])
    log.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring_child")
    parser.add_argument("mode", choices=[*POLICIES, *TRACES])
    parser.add_argument("files", type=Path)
    parser.add_argument("directory", type=Path)
    parser.add_argument("port", type=int)
    given = parser.parse_args()
    run(given.mode, given.files, given.directory, given.port)
