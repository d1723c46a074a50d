"""The straight line of a request: which version, what answer, into the prediction log, out.

No HTTP, no SQL and no MLflow server here. How bytes are understood is the model host's business (`codecs/`), which
version answers that of `pool.py`.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from mlflow_ext.errors import MlflowExtError, UnavailableError
from mlflow_ext.spool import PredictionRecord
from serving.asked import Asked
from serving.codecs.answer import Answer, Logged, error
from serving.metrics import Metrics
from serving.pool import LoadedVersion, Pool
from serving.prediction_log import PredictionLog, Rewritten
from serving.refusals import refusal
from serving.trace_notes import NOTES, note

AT_ONCE_BYTES = 64 * 1024
"""Bigger requests and answers are logged on a thread, since writing them holds up the event loop."""


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """A complete request.

    Attributes:
        request_id: Under which it is answered and logged.
        model: Registered model.
        version: Version asked for, or `None` for whichever is in Production.
        asked: What is asked of the version.
    """

    request_id: str
    model: str
    version: int | None
    asked: Asked


@dataclass(frozen=True, slots=True)
class Scored:
    """An answer and the version that gave it; `None` where none could be chosen."""

    answer: Answer
    by: LoadedVersion | None


class Scorer:
    """Answers scoring requests, by their version's host."""

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
        notes, asked = NOTES.get(), request.asked
        if notes is not None:
            asked = replace(asked, trace_id=notes.trace_id)
        try:
            answer = await loaded.host.ask(asked, self._timeout_s)
        except TimeoutError:
            return too_late(self._timeout_s)
        except UnavailableError as exc:
            return refusal(exc)
        if max(len(request.asked.body), len(answer.body)) <= AT_ONCE_BYTES:
            self._keep(request, loaded, answer, at, began)
        else:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, self._keep, request, loaded, answer, at, began)
        return answer

    def _keep(self, request: ScoringRequest, loaded: LoadedVersion, answer: Answer, at: datetime, began: float) -> None:
        took_s = time.perf_counter() - began
        # an answer that comes too late reaches nobody, so it is no prediction
        if answer.status == 200 and took_s < self._timeout_s:
            asked = request.asked
            kept = answer.logged or Logged(asked.content_type or "", asked.body, answer.body)
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
            self._log.append(loaded, [record], Rewritten(kept.refused) if kept.redacted else None)

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
