"""What a model host does once its version is open: it reads questions from its connection and answers each on a thread.

Its connection's end is its own end. What MLflow's protocols mean lives in `codecs/` and `openinference/`.
"""

import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from serving import asked as messages
from serving.asked import HEADER, Answered, Asked, Predicted, Question, Table, frame, rows_of
from serving.bounds import Bounds
from serving.codecs import mlflow_protocol
from serving.codecs.answer import Answer, Logged
from serving.host.opened import OpenedVersion
from serving.host.redaction import FormatRedactor
from serving.openinference.inference import OpenInference
from serving.privacy import UncertainError
from serving.trace_notes import NOTES, Notes

logger = logging.getLogger(__name__)


class Answering:
    """Answers questions about one version."""

    def __init__(self, opened: OpenedVersion, bounds: Bounds, redactor: FormatRedactor | None) -> None:
        """Take the version, how much a request may ask, and what rewrites what is logged."""
        self._opened = opened
        self._bounds = bounds
        self._redactor = redactor

    def serve(self, connection: socket.socket, threads: int) -> None:
        """Answer until the other side is gone."""
        sending = threading.Lock()

        def answer(number: int, payload: bytes) -> None:
            try:
                reply = self.reply(payload)
                content = frame(number, messages.write(reply))
            # a thread's failure must not leave the other side waiting
            except Exception:
                logger.exception("event=host_answer_failed model=%r", self._opened.model)
                content = frame(number, messages.write(Predicted(None)))
            try:
                with sending:
                    connection.sendall(content)
            except OSError:
                logger.info("event=host_let_go model=%r", self._opened.model)

        pool = ThreadPoolExecutor(threads, thread_name_prefix="answer")
        reading = connection.makefile("rb", buffering=1 << 18)
        while len(header := reading.read(HEADER.size)) == HEADER.size:
            size, number = HEADER.unpack(header)
            payload = reading.read(size)
            if len(payload) < size:
                break
            pool.submit(answer, number, payload)
        pool.shutdown(wait=False, cancel_futures=True)

    def reply(self, payload: bytes) -> Predicted | Answered:
        """Answer one message."""
        message = messages.read_sent(payload)
        if isinstance(message, Question):
            return Answered.of(self.answer(message.asked))
        return Predicted.of(self._predicted(message))

    def answer(self, asked: Asked) -> Answer:
        """Answer a request in its protocol."""
        # a thread answers one request after the other
        NOTES.set(None if asked.trace_id is None else Notes(asked.trace_id))
        if asked.protocol == "tensors":
            codec = OpenInference(asked.header_length, asked.encoding, self._bounds)
            given = codec(self._opened, asked.body, asked.content_type)
        else:
            given = mlflow_protocol.answer(self._opened, asked.body, asked.content_type, self._bounds)
        if given.status != 200 or self._redactor is None:
            return given
        kept = given.logged or Logged(asked.content_type or "", asked.body, given.body)
        return replace(given, logged=redacted(self._redactor, kept))

    def _predicted(self, table: Table) -> NDArray[Any] | None:
        plan = self._opened.plan
        if plan is None:
            return None
        try:
            return plan.predict(rows_of(table))
        # the model's own code ran; what its failure means to a client is for MLflow's code to say
        except Exception as exc:
            logger.warning("event=plan_failed engine=%s reason=%r", plan.engine, str(exc)[:200])
            return None


def redacted(redactor: FormatRedactor, kept: Logged) -> Logged:
    """Rewrite what is to be logged so that no personal data is in it, or say why that cannot be done."""
    try:
        return redactor.rewrite(kept)
    except UncertainError as exc:
        refused = str(exc)
    # parsers raise whatever they like on what clients send; the answer goes out, the request is not written
    except Exception as exc:
        refused = type(exc).__name__
    return Logged("", b"", b"", redacted=True, refused=refused)
