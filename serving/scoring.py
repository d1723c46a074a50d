"""The straight line of a request: which version, what answer, into the prediction log, out.

No HTTP, no SQL and no MLflow server here. How bytes are understood lives in `codecs/`, which version answers in
`pool.py`.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow_ext.errors import MlflowExtError
from mlflow_ext.spool import PredictionRecord
from serving.codecs import mlflow_protocol
from serving.codecs.answer import Answer, Logged, error
from serving.metrics import Metrics
from serving.pool import LoadedVersion, Pool
from serving.prediction_log import PredictionLog
from serving.refusals import refusal
from serving.trace_notes import carried, note

Codec = Callable[[LoadedVersion, bytes, str | None], Answer]
"""A protocol: answers a body of a content type with a version; takes as long as the model takes."""


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """A complete request.

    Attributes:
        request_id: Under which it is answered and logged.
        model: Registered model.
        version: Version asked for, or `None` for whichever is in Production.
        body: Raw body.
        content_type: `Content-Type`, if any.
        codec: The protocol that it is in.
        at_once: Answers what it can without waiting, on the event loop; `None` is for `codec`.
    """

    request_id: str
    model: str
    version: int | None
    body: bytes
    content_type: str | None
    codec: Codec = mlflow_protocol.answer
    at_once: Callable[[LoadedVersion, bytes], Answer | None] | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """An answer and the version that gave it; `None` where none could be chosen."""

    answer: Answer
    by: LoadedVersion | None


class Scorer:
    """Answers scoring requests; models run on threads, so that the event loop goes on."""

    def __init__(
        self, pool: Pool, log: PredictionLog, metrics: Metrics, threads: ThreadPoolExecutor, timeout_s: float
    ) -> None:
        """Take what is loaded, the prediction log, and how long an answer may take in seconds."""
        self._pool = pool
        self._log = log
        self._metrics = metrics
        self._threads = threads
        self._timeout_s = timeout_s

    async def score(self, request: ScoringRequest) -> Scored:
        """Answer a request; every failure is an answer as well."""
        began = time.perf_counter()
        try:
            loaded = self._choose(request)
        except MlflowExtError as exc:
            scored = Scored(refusal(exc), None)
        else:
            in_progress = self._metrics.in_progress.labels(request.model)
            in_progress.inc()
            try:
                scored = Scored(await self._answer(request, loaded, began), loaded)
            finally:
                in_progress.dec()
        if scored.by is not None:
            note(scored.answer.rows, scored.answer.engine)
        self.count(request, scored, time.perf_counter() - began)
        return scored

    def _choose(self, request: ScoringRequest) -> LoadedVersion:
        if request.version is None:
            return self._pool.champion(request.model)
        return self._pool.version(request.model, request.version)

    async def _answer(self, request: ScoringRequest, loaded: LoadedVersion, began: float) -> Answer:
        at = datetime.now(UTC)
        answer = request.at_once(loaded, request.body) if request.at_once is not None else None
        if answer is not None:
            self._keep(request, loaded, answer, at, began)
            return answer
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, carried(self._answer_on_thread), request, loaded, began)
        try:
            return await asyncio.wait_for(work, self._timeout_s)
        except TimeoutError:
            return too_late(self._timeout_s)

    def _answer_on_thread(self, request: ScoringRequest, loaded: LoadedVersion, began: float) -> Answer:
        at = datetime.now(UTC)
        answer = request.codec(loaded, request.body, request.content_type)
        self._keep(request, loaded, answer, at, began)
        return answer

    def _keep(self, request: ScoringRequest, loaded: LoadedVersion, answer: Answer, at: datetime, began: float) -> None:
        took_s = time.perf_counter() - began
        # an answer that comes too late reaches nobody, so it is no prediction
        if answer.status == 200 and took_s < self._timeout_s:
            kept = answer.logged or Logged(request.content_type or "", request.body, answer.body)
            record = PredictionRecord(
                request_id=request.request_id,
                model=loaded.model,
                version=loaded.version,
                at=at,
                latency_us=round(took_s * 1_000_000),
                content_type=kept.content_type,
                request=kept.request,
                response=kept.response,
                workspace=loaded.workspace,
            )
            self._log.append(loaded, [record])

    def count(self, request: ScoringRequest, scored: Scored, took_s: float) -> None:
        """Count an answer, by model, version and status."""
        version = str(scored.by.version) if scored.by else ""
        # a name that is no model's must not become a label: clients could make any number of them
        model = request.model if scored.by or self._pool.knows(request.model) else ""
        self._metrics.requests.labels(model, version, str(scored.answer.status)).inc()
        self._metrics.latency.labels(model, version).observe(took_s)
        if scored.answer.error is not None:
            self._metrics.errors.labels(model, str(scored.answer.error["error_code"])).inc()


def too_late(timeout_s: float) -> Answer:
    """Say that the model took longer than allowed, in seconds."""
    return error(504, "DEADLINE_EXCEEDED", f"The model did not answer within {timeout_s:g} s.")
