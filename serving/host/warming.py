"""Predicting the last logged requests with a version that is being opened, before anything points at it.

What clients sent lately is what they will send next: caches, lazy imports and code paths are warm then, and a version
that dies of it is found out here. Requests that the version refuses are passed over: it may have another signature, and
what policy drops or hashes before it is logged is not what was sent. Where they come from: `logged_rows.py`.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
from mlflow.models import convert_input_example_to_serving_input

from serving.codecs import mlflow_protocol
from serving.host.opened import OpenedVersion, Predictor
from serving.host_request import ModelLoadError

logger = logging.getLogger(__name__)

KEPT_BYTES = 1024 * 1024
"""Larger bodies are not handed on."""


@dataclass(slots=True)
class Warmed:
    """What came of it.

    Attributes:
        rows: Rows that were predicted.
        passed_over: Requests that the version refused.
        bodies: Some of the predicted requests in MLflow's scoring protocol, for the version's plan.
    """

    rows: int = 0
    passed_over: int = 0
    bodies: list[bytes] = field(default_factory=list)


class _Noticing:
    """The model, and whether it asked for more memory than it may have: MLflow makes an ordinary error of that."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.metadata = predictor.metadata
        self.wants_more_memory = False

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        try:
            return self._predictor.predict(data, params=params)
        except MemoryError:
            self.wants_more_memory = True
            raise


def predict_logged(opened: OpenedVersion, requests: Sequence[pd.DataFrame], within_s: float) -> Warmed:
    """Predict logged requests, the first one alone and the others together if that is quick enough.

    Args:
        opened: The version.
        requests: Inputs of each, the newest first.
        within_s: No further one is begun after so long; one that takes too long itself ends the load.

    Raises:
        ModelLoadError: That takes more memory than the version may have.
    """
    model = _Noticing(opened.predictor)
    watched = replace(opened, predictor=model)
    names = _names(opened)
    found, refused = Warmed(), Counter[str]()
    left, until = deque(requests), time.monotonic() + within_s
    together = len({tuple(one.columns) for one in requests}) == 1

    def accepts(rows: pd.DataFrame) -> bool:
        body = _body(rows, names)
        answer = None if body is None else mlflow_protocol.answer(watched, body, "application/json")
        if model.wants_more_memory:
            raise ModelLoadError("predicting logged requests takes more memory than it may have")
        if body is None or answer is None or answer.error is not None:
            # the message may repeat what was logged
            refused[str(answer.error["error_code"]) if answer is not None and answer.error else "NO_JSON"] += 1
            return False
        found.rows += len(rows)
        if len(body) <= KEPT_BYTES and len(found.bodies) < 2:
            found.bodies.append(body)
        return True

    while left and time.monotonic() < until:
        one, began = left.popleft(), time.monotonic()
        if not accepts(one):
            found.passed_over += 1
            continue
        rest_s = (time.monotonic() - began) / len(one) * sum(len(other) for other in left)
        if left and together and time.monotonic() + rest_s < until:
            if accepts(pd.concat(left, ignore_index=True)):
                left.clear()
            # one of them is refused: which one, they say by themselves
            together = False
    if requests:
        logger.info(
            "event=logged_requests_predicted model=%r version=%d rows=%d passed_over=%d refusals=%r",
            *(opened.model, opened.version, found.rows, found.passed_over, dict(refused)),
        )
    return found


def _names(opened: OpenedVersion) -> list[str] | None:
    schema = opened.input_schema
    names = [] if schema is None else [name for name in schema.input_names() if isinstance(name, str)]
    return names or None


def _body(rows: pd.DataFrame, names: list[str] | None) -> bytes | None:
    """Write rows in MLflow's scoring protocol, as the signature's columns where all of these are there."""
    if names is not None and set(names) <= {*rows.columns}:
        rows = rows[names]
    try:
        text = convert_input_example_to_serving_input(rows)
    # what cannot be written was not sent like that either: such columns are logged in another form
    except Exception:
        return None
    return None if text is None else str(text).encode()
