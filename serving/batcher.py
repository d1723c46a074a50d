"""Micro-batching: requests that wait at the same time are computed together, each answered with its own rows' part.

Nobody waits for a batch to fill: what is there goes. What HTTP makes of the answers is `hot_path.py`'s business; which
requests come here, `plan.py`'s.
"""

import asyncio
import logging
import time
from collections import Counter as Tally
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from numpy.typing import NDArray
from prometheus_client import Counter, Gauge, Histogram

from mlflow_ext.errors import UnavailableError
from mlflow_ext.spool import Answered
from serving.kernels import Rows
from serving.metrics import Metrics, observe_all
from serving.plan import Plan, joined, write
from serving.pool import LoadedVersion
from serving.prediction_log import PredictionLog, Understood

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
Computing = asyncio.Task[list[bytes | None]]

MOST_ROWS = 2_048
"""A batch is not added to beyond so many rows: those who came first should not wait for those who came last."""
INLINE_BYTES = 64 * 1024
"""Bodies up to this size are read on the event loop; bigger ones hold it up for longer than a thread costs."""
BATCHES_AT_ONCE = 4
"""So many batches of one version may be on threads; a model that hangs holds no more than these."""


# not frozen: one is made for each request, and a frozen one takes three times as long to make
@dataclass(slots=True, eq=False)
class Waiting:
    """A request that the plan has understood.

    Attributes:
        request_id: Under which it is answered and logged.
        body: Raw body.
        content_type: As the client wrote it.
        rows: What the plan read in the body.
        began: When the request was complete, on the clock of `time.perf_counter`.
        give: Gets this and the answer's body, or `None` when MLflow's own code has to answer; on the event loop.
        late: Whether the client was told that it takes too long; an answer that reaches nobody is no prediction.
        predictions: What was predicted, once it was.
    """

    request_id: str
    body: bytes
    content_type: str
    rows: Rows
    began: float
    give: "Callable[[Waiting, bytes | None], None]"
    late: bool = False
    predictions: NDArray[Any] | None = None


@dataclass(slots=True, eq=False)
class _Queue:
    waiting: deque[Waiting] = field(default_factory=deque)
    rows: int = 0
    running: int = 0

    def add(self, one: Waiting) -> None:
        self.waiting.append(one)
        self.rows += len(one.rows)

    def take(self) -> list[Waiting]:
        """Take the next batch: one request at least, no more rows than a batch may have otherwise."""
        batch = [self.waiting.popleft()]
        rows = len(batch[0].rows)
        while self.waiting and rows + len(self.waiting[0].rows) <= MOST_ROWS:
            batch.append(self.waiting.popleft())
            rows += len(batch[-1].rows)
        self.rows -= rows
        return batch


class _Counted(NamedTuple):
    requests: Counter
    latency: Histogram
    rows: Histogram
    in_progress: Gauge


class Batcher:
    """Answers understood requests; lives on one event loop."""

    def __init__(self, log: PredictionLog, metrics: Metrics, threads: ThreadPoolExecutor) -> None:
        """Take the prediction log, what is counted, and the threads on which models that are not compiled run."""
        self._log = log
        self._metrics = metrics
        self._threads = threads
        self._queues: defaultdict[LoadedVersion, _Queue] = defaultdict(_Queue)
        self._apart: set[Computing] = set()
        self._counted: WeakKeyDictionary[LoadedVersion, _Counted] = WeakKeyDictionary()

    def pending(self) -> Tally[str]:
        """Count the requests that wait for a batch before theirs, by model; any thread may ask."""
        waiting = Tally[str]()
        for loaded, queue in list(self._queues.items()):
            waiting[loaded.model] += len(queue.waiting)
        return waiting

    def at_once(self, loaded: LoadedVersion, plan: Plan, one: Waiting) -> bytes | None:
        """Answer a request here and now."""
        self._counters(loaded).in_progress.inc()
        return self._answer(loaded, plan, [one])[0]

    def on_thread(self, work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> "asyncio.Future[T]":
        """Do work beside the event loop, on the threads on which models run."""
        return asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *arguments, **options))

    def submit(self, loaded: LoadedVersion, plan: Plan, one: Waiting) -> None:
        """Answer a request with those that wait beside it; its future gets the answer."""
        queue = self._queues[loaded]
        queue.add(one)
        if plan.inline:
            if len(queue.waiting) == 1:
                # those whose requests have arrived by now come first; then all of them together
                asyncio.get_running_loop().call_soon(self._flush, loaded, plan)
            return
        self._counters(loaded).in_progress.inc()
        if queue.running < BATCHES_AT_ONCE and (queue.running == 0 or queue.rows >= MOST_ROWS):
            self._start(loaded, plan, queue)

    def _flush(self, loaded: LoadedVersion, plan: Plan) -> None:
        queue = self._queues[loaded]
        while queue.waiting:
            batch = queue.take()
            self._counters(loaded).in_progress.inc(len(batch))
            if plan.apart is not None and plan.goes_apart(sum(len(one.rows) for one in batch)):
                work = self._begin_apart(loaded, plan, batch)
                work.add_done_callback(partial(_give_result, batch))
            else:
                _give(batch, self._answer(loaded, plan, batch))
        self._queues.pop(loaded, None)

    def _start(self, loaded: LoadedVersion, plan: Plan, queue: _Queue) -> None:
        batch = queue.take()
        queue.running += 1
        work: asyncio.Future[list[bytes | None]]
        if plan.apart is not None:
            work = self._begin_apart(loaded, plan, batch)
        else:
            work = asyncio.get_running_loop().run_in_executor(self._threads, self._answer, loaded, plan, batch)
        work.add_done_callback(partial(self._done, loaded, plan, queue, batch))

    def _begin_apart(self, loaded: LoadedVersion, plan: Plan, batch: list[Waiting]) -> Computing:
        work = asyncio.get_running_loop().create_task(self._answer_apart(loaded, plan, batch))
        # the event loop itself does not keep a task alive
        self._apart.add(work)
        work.add_done_callback(self._apart.discard)
        return work

    def _done(
        self,
        loaded: LoadedVersion,
        plan: Plan,
        queue: _Queue,
        batch: list[Waiting],
        work: "asyncio.Future[list[bytes | None]]",
    ) -> None:
        queue.running -= 1
        _give_result(batch, work)
        if queue.waiting:
            self._start(loaded, plan, queue)
        elif queue.running == 0:
            self._queues.pop(loaded, None)

    def _answer(self, loaded: LoadedVersion, plan: Plan, batch: list[Waiting]) -> list[bytes | None]:
        """Compute, log and count a batch; `None` for each request that MLflow's own code has to answer."""
        at = datetime.now(UTC)
        answers = self._computed(plan, batch)
        self._keep(loaded, plan, batch, answers, at)
        return answers

    async def _answer_apart(self, loaded: LoadedVersion, plan: Plan, batch: list[Waiting]) -> list[bytes | None]:
        """The same for a batch that the model host computes."""
        at = datetime.now(UTC)
        answers = await self._computed_apart(plan, batch)
        self._keep(loaded, plan, batch, answers, at)
        return answers

    def _keep(
        self, loaded: LoadedVersion, plan: Plan, batch: list[Waiting], answers: list[bytes | None], at: datetime
    ) -> None:
        now = time.perf_counter()
        given = [(one, answer) for one, answer in zip(batch, answers, strict=True) if answer and not one.late]
        counted = self._counters(loaded)
        if given:
            took_s = [now - one.began for one, _ in given]
            rows = [
                (one.request_id, int(took * 1e6), one.content_type, one.body, answer)
                for (one, answer), took in zip(given, took_s, strict=True)
            ]
            answered = Answered(loaded.model, loaded.version, at, rows, loaded.workspace)
            self._log.append_answered(loaded, answered, Understood(plan.columns, [one.rows for one, _ in given]))
            counted.requests.inc(len(given))
            counted.rows.observe(sum(len(one.rows) for one, _ in given))
            observe_all(counted.latency, took_s)
        counted.in_progress.dec(len(batch))

    def _computed(self, plan: Plan, batch: list[Waiting]) -> list[bytes | None]:
        try:
            if len(batch) > 1 and plan.batches:
                together = plan.predict(joined([one.rows for one in batch]))
                if together is not None:
                    return _parts(batch, together)
            for one in batch:
                one.predictions = plan.predict(one.rows)
            return [None if one.predictions is None else write(one.predictions) for one in batch]
        # the model's own code ran; what its failure means to a client is for MLflow's code to say
        except Exception as exc:
            logger.warning("event=plan_failed engine=%s reason=%r", plan.engine, str(exc)[:200])
            return [None] * len(batch)

    async def _computed_apart(self, plan: Plan, batch: list[Waiting]) -> list[bytes | None]:
        apart = plan.apart
        if apart is None:
            return self._computed(plan, batch)
        try:
            if len(batch) > 1 and plan.batches:
                together = await apart(joined([one.rows for one in batch]))
                if together is not None:
                    return _parts(batch, together)
            alone = await asyncio.gather(*(apart(one.rows) for one in batch))
            for one, predictions in zip(batch, alone, strict=True):
                one.predictions = predictions
            return [None if predictions is None else write(predictions) for predictions in alone]
        except TimeoutError:
            logger.warning("event=plan_failed engine=%s reason='it took too long'", plan.engine)
        except UnavailableError:
            # the host's end is in the log already; a line a request would bury it
            pass
        # what can be computed here as well, if slower, is
        return await self.on_thread(self._computed, plan, batch) if plan.few_rows else [None] * len(batch)

    def _counters(self, loaded: LoadedVersion) -> "_Counted":
        found = self._counted.get(loaded)
        if found is None:
            version = str(loaded.version)
            found = self._counted[loaded] = _Counted(
                self._metrics.requests.labels(loaded.model, version, "200"),
                self._metrics.latency.labels(loaded.model, version),
                self._metrics.batch_rows.labels(loaded.model, version),
                self._metrics.in_progress.labels(loaded.model),
            )
        return found


def _give(batch: list[Waiting], answers: list[bytes | None]) -> None:
    for one, answer in zip(batch, answers, strict=True):
        try:
            one.give(one, answer)
        # one client's connection must not cost the others their answers
        except Exception:
            logger.exception("event=answer_not_given request_id=%s", one.request_id)


def _give_result(batch: list[Waiting], work: "asyncio.Future[list[bytes | None]]") -> None:
    _give(batch, [None] * len(batch) if work.cancelled() or work.exception() else work.result())


def _parts(batch: list[Waiting], together: NDArray[Any]) -> list[bytes | None]:
    """Give each request its own rows' part of what was computed together."""
    answers: list[bytes | None] = []
    end = 0
    for one in batch:
        begin, end = end, end + len(one.rows)
        one.predictions = together[begin:end]
        answers.append(write(one.predictions))
    return answers
