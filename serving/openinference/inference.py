"""One inference: body → tensors → model → tensors → body. Which version answers is decided in `serving/scoring.py`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import predictions_to_json
from numpy.typing import NDArray

from mlflow_ext.errors import InvalidInputError
from serving.bounds import DEFAULT, Bounds
from serving.codecs.answer import Answer, Logged, error
from serving.codecs.mlflow_protocol import refused
from serving.compression import TooLargeError, compressed
from serving.host.opened import OpenedVersion
from serving.openinference.http_form import HEADER_LENGTH
from serving.openinference.messages import InferRequest, read_request, write_answer
from serving.openinference.model_input import model_input, parameters_for
from serving.openinference.model_output import output_tensors
from serving.refusals import refusal

logger = logging.getLogger(__name__)

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class OpenInference:
    """The codec of one request.

    Attributes:
        header_length: Bytes of JSON at the body's beginning; `None` where all of it is JSON.
        encoding: Content encoding that the answer may have, or `None`.
        bounds: How much the request may ask.
    """

    header_length: int | None = None
    encoding: str | None = None
    bounds: Bounds = DEFAULT

    def __call__(self, loaded: OpenedVersion, body: bytes, content_type: str | None) -> Answer:
        """Answer one request with one version; takes as long as the model takes, so call it on a thread."""
        asked = self.understood(loaded, body)
        if isinstance(asked, Answer):
            return asked
        predictions = _by_plan(loaded, asked)
        engine = "mlflow" if predictions is None or loaded.plan is None else loaded.plan.engine
        try:
            if predictions is None:
                predictions = loaded.predictor.predict(asked.make(), params=asked.params)
        except MlflowException as exc:
            return refused(exc)
        # whatever a model raises on an input that fits its signature; as for MLflow's own protocol, the request's fault
        except Exception:
            logger.exception("event=prediction_failed model=%r version=%d", loaded.model, loaded.version)
            return error(400, "BAD_REQUEST", "The model failed on this input; the reason is in the service's log.")
        return self._answer(loaded, asked, predictions, engine)

    def understood(self, loaded: OpenedVersion, body: bytes) -> "Asked | Answer":
        """Read a request, or give the answer to what cannot be read."""
        try:
            request = read_request(body, self.header_length, self.bounds)
            rows = max(tensor.shape[0] for tensor in request.inputs)
            self.bounds.check_rows(rows)
            given = model_input(request.inputs, loaded.input_schema)
        except (InvalidInputError, TooLargeError) as exc:
            return refusal(exc)
        params = parameters_for(request.parameters, loaded.predictor.metadata.get_params_schema())
        return Asked(request, given.make, params, given.written(params), rows)

    def _answer(self, loaded: OpenedVersion, asked: "Asked", predictions: Any, engine: str) -> Answer:
        response = StringIO()
        try:
            predictions_to_json(predictions, response)
        # a model may give anything; what NumPy and JSON raise on it is as manifold
        except Exception as exc:
            return _unwritable(loaded, exc)
        # the log's readers know MLflow's protocol
        logged = Logged(JSON, asked.written, response.getvalue().encode())
        return self.written(loaded, asked, predictions, engine, logged)

    def written(
        self, loaded: OpenedVersion, asked: "Asked", predictions: Any, engine: str, logged: Logged | None = None
    ) -> Answer:
        """Write predictions as the request wants them; what the log keeps goes along with the answer."""
        try:
            outputs = output_tensors(predictions, loaded.predictor.metadata.get_output_schema())
        # as above
        except Exception as exc:
            return _unwritable(loaded, exc)
        try:
            body, header_length = write_answer(asked.request, loaded.model, loaded.version, outputs)
        except InvalidInputError as exc:
            return refusal(exc)
        headers = {} if header_length is None else {HEADER_LENGTH: str(header_length)}
        body, encoding = compressed(body, self.encoding)
        if encoding is not None:
            headers["Content-Encoding"] = encoding
        media_type = JSON if header_length is None else "application/octet-stream"
        return Answer(200, body, media_type, None, headers, logged, asked.rows, engine)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is understood, with how to make the input of `predict`, and what the log keeps."""

    request: InferRequest
    make: Callable[[], Any]
    params: dict[str, Any] | None
    written: bytes
    rows: int


def _unwritable(loaded: OpenedVersion, exc: Exception) -> Answer:
    logger.error("event=answer_failed model=%r version=%d", loaded.model, loaded.version, exc_info=exc)
    return error(500, "INTERNAL_ERROR", "The model's predictions cannot be written as tensors.")


def _by_plan(loaded: OpenedVersion, asked: Asked) -> NDArray[Any] | None:
    """Let the version's plan predict, if it knows the request exactly; it judges what MLflow's protocol would carry."""
    plan = loaded.plan
    rows = None if plan is None else plan.rows(asked.written)
    if plan is None or rows is None:
        return None
    try:
        return plan.predict(rows)
    # the model's own code ran; the usual way tells what its failure means
    except Exception as exc:
        logger.warning("event=plan_failed engine=%s reason=%r", plan.engine, str(exc)[:200])
        return None
