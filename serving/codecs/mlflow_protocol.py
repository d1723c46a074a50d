"""MLflow's scoring protocol, by MLflow's own code: `mlflow.pyfunc.scoring_server.invocations` decides every answer.

The deliberate differences from `mlflow models serve` are made here and listed in docs/serving.md; a differential test
sends the same bodies to both.
"""

import logging
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import CONTENT_TYPE_JSON, CONTENT_TYPES, invocations

from mlflow_ext.errors import InvalidInputError
from serving.bounds import DEFAULT, Bounds, rows_of
from serving.codecs.answer import Answer, error
from serving.compression import TooLargeError
from serving.host.opened import OpenedVersion, Predictor
from serving.refusals import refusal

logger = logging.getLogger(__name__)

_ECHOES = ("\nInput: \n",)
"""Where MLflow's messages begin to repeat the request's body."""


class _Watched:
    """The model as `invocations` sees it; tells afterwards whether an error came before or after predicting."""

    def __init__(self, predictor: Predictor, bounds: Bounds) -> None:
        self.metadata = predictor.metadata
        self.predicted = False
        self.rows: int | None = None
        self.too_many: TooLargeError | None = None
        self._predictor = predictor
        self._bounds = bounds

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        try:
            self.rows = rows_of(data)
            self._bounds.check_rows(self.rows)
        except TooLargeError as exc:
            # whatever is raised in here, `invocations` takes for the model's
            self.too_many = exc
            raise
        predictions = self._predictor.predict(data, params=params)
        self.predicted = True
        return predictions


def answer(loaded: OpenedVersion, body: bytes, content_type: str | None, bounds: Bounds = DEFAULT) -> Answer:
    """Answer one request with one version; takes as long as the model takes, so call it on a thread.

    Args:
        loaded: The version.
        body: Raw request body.
        content_type: The request's `Content-Type`.
        bounds: How much it may ask.
    """
    if content_type is None:
        return error(415, "BAD_REQUEST", f"The request has no Content-Type. Send one of {CONTENT_TYPES}.")
    model = _Watched(loaded.predictor, bounds)
    try:
        if content_type.partition(";")[0].strip() == CONTENT_TYPE_JSON:
            bounds.check_json(body)
        result = invocations(body, content_type, model, loaded.input_schema)
    except InvalidInputError as exc:
        return refusal(exc)
    except MlflowException as exc:
        return refused(exc) if model.too_many is None else refusal(model.too_many)
    # outside of predicting, which `invocations` guards itself, MLflow's parsers let through whatever pandas, NumPy and
    # the JSON module raise on bodies that they do not expect
    except Exception as exc:
        if model.predicted:
            logger.exception("event=answer_failed model=%r version=%d", loaded.model, loaded.version)
            return error(500, "INTERNAL_ERROR", "The model's predictions cannot be written as JSON.")
        return error(400, "BAD_REQUEST", f"The request's body cannot be read as the model's input: {_short(exc)}")
    if result.status != 200:
        return error(result.status, "BAD_REQUEST", result.response)
    return Answer(200, result.response.encode(), result.mimetype, rows=model.rows)


def accepted(loaded: OpenedVersion, body: bytes) -> bytes | None:
    """Give the answer's body to a JSON request; `None` where MLflow refuses it."""
    given = answer(loaded, body, "application/json")
    return given.body if given.error is None else None


def refused(exc: MlflowException) -> Answer:
    """Turn MLflow's error into an answer without trace and without the request's input."""
    more = {"sqlstate": exc.sqlstate, "error_class": exc.error_class}
    message = exc.message
    if message.startswith("Failed to predict data '"):
        # MLflow puts the whole input before the original message, which the exception keeps as its argument
        message = f"Failed to predict data. \nError: {exc.args[0]}"
    for echo in _ECHOES:
        message = message.partition(echo)[0]
    return error(
        exc.get_http_status_code(),
        exc.error_code,
        message,
        **{key: value for key, value in more.items() if value is not None},
    )


def _short(exc: Exception) -> str:
    return f"{type(exc).__name__}: {' '.join(str(exc).split())[:200]}"
