"""What the routes work with, as one object; built by `process.py`, or by a test."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event

from mlflow_ext.config import Settings
from mlflow_ext.store.feedback import Feedback
from serving.admission import Admission
from serving.authority import Authority
from serving.batcher import Batcher
from serving.control import Control
from serving.metrics import Metrics
from serving.pending import Pending
from serving.pool import Pool
from serving.prediction_log import PredictionLog
from serving.scoring import Scorer


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a scoring process.

    Attributes:
        settings: The settings.
        authority: Says who may ask.
        admission: Says whether there is room for one more.
        pool: What is loaded.
        scorer: Answers scoring requests.
        batcher: Answers those that a plan understands.
        pending: Measures what waits.
        metrics: What is counted.
        log: What predictions are written to.
        feedback: Where outcomes are stored.
        threads: Where calls that wait are made.
        control: Promotions, as callers ask for them.
        deciding: Where calls of `control` are made; they may wait long for MLflow.
        is_ready: Whether everything that should be loaded is.
        stopping: Set once the process has been asked to stop.
    """

    settings: Settings
    authority: Authority
    admission: Admission
    pool: Pool
    scorer: Scorer
    batcher: Batcher
    pending: Pending
    metrics: Metrics
    log: PredictionLog
    feedback: Feedback
    threads: ThreadPoolExecutor
    control: Control
    deciding: ThreadPoolExecutor
    is_ready: Callable[[], bool]
    stopping: Event = field(default_factory=Event)
