"""What a scoring process and a model host say to each other, as messages of one connection.

Frames are a length, a number that an answer repeats, and MessagePack. Only the plan, which holds NumPy's arrays, is a
pickle, and is read by `compiled_plans.py`. Who sends: `model_host.py`; who answers: `host/answering.py`.
"""

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.codecs.answer import Answer, Logged
from serving.kernels import Rows

HEADER = struct.Struct("<QQ")
"""Bytes of the payload, and the number of the question."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that MLflow's code answers.

    Attributes:
        protocol: MLflow's scoring protocol, or the Open Inference Protocol.
        body: Raw body.
        content_type: `Content-Type`, if any.
        header_length: Of the Open Inference Protocol: bytes of JSON at the body's beginning.
        encoding: Of the Open Inference Protocol: content encoding that the answer may have.
        trace_id: Of its trace, where it is traced.
    """

    protocol: Literal["mlflow", "tensors"]
    body: bytes
    content_type: str | None
    header_length: int | None = None
    encoding: str | None = None
    trace_id: str | None = None


class Question(msgspec.Struct, tag=True):
    """Answer a request."""

    asked: Asked


class Table(msgspec.Struct, tag=True):
    """Predict rows by the original model, or by the kernel where that is better done in the host.

    `matrix` holds `columns` numbers of double precision a row, where all columns are such; `rows` is empty then.
    """

    rows: Sequence[tuple[Any, ...]] = []
    matrix: bytes = b""
    columns: int = 0


class Predicted(msgspec.Struct, tag=True):
    """One value a row; nothing where only MLflow's code knows what to do with the rows."""

    predictions: list[Any] | None
    dtype: str = ""

    @classmethod
    def of(cls, predictions: NDArray[Any] | None) -> "Predicted":
        """Put predictions into a message."""
        return cls(None) if predictions is None else cls(predictions.tolist(), predictions.dtype.str)

    @property
    def array(self) -> NDArray[Any] | None:
        """Take them out, in the type that the model gave."""
        return None if self.predictions is None else np.array(self.predictions, dtype=self.dtype)


class Answered(msgspec.Struct, tag=True):
    """The answer to a request, as an `Answer`; an error as JSON, whose texts may be what MessagePack cannot write."""

    status: int
    body: bytes
    media_type: str
    error: bytes | None
    headers: dict[str, str]
    logged: Logged | None
    rows: int | None
    engine: str

    @classmethod
    def of(cls, answer: Answer) -> "Answered":
        """Put an answer into a message."""
        error = None if answer.error is None else json.dumps(answer.error).encode()
        return cls(
            *(answer.status, answer.body, answer.media_type, error, dict(answer.headers)),
            *(answer.logged, answer.rows, answer.engine),
        )

    @property
    def answer(self) -> Answer:
        """Take the answer out."""
        error = None if self.error is None else json.loads(self.error)
        return Answer(self.status, self.body, self.media_type, error, self.headers, self.logged, self.rows, self.engine)


class Began(msgspec.Struct, tag=True):
    """A version is being opened.

    Its files are there (`fetched`), it has answered its example (`loaded`), then logged requests as well (`warmed`).
    """

    phase: Literal["fetched", "loaded", "warmed"]


class Refused(msgspec.Struct, tag=True):
    """A version cannot be opened."""

    kind: str
    reason: str


class Opened(msgspec.Struct, tag=True):
    """A version is ready.

    Attributes:
        digest: Of its files' manifest.
        plan: The `CompiledPlan` as a pickle without its arrays, if there is one.
        array_sizes: Bytes of each of the plan's arrays, which follow this message one after the other.
        twin_refused: Why no ONNX twin answers.
        twin_later: Whether it is to be made.
        inputs: Names of the signature's inputs; nothing without a signature.
        described: Its OpenAPI document, as JSON.
        metadata: What the Open Inference Protocol tells of it.
        peak_bytes: Memory that opening it took.
        warmed_rows: Logged rows that it has predicted.
        passed_over: Logged requests that it refused.
        bodies: Requests that it has answered, in MLflow's scoring protocol, to warm its plan.
    """

    digest: str
    plan: bytes | None
    array_sizes: list[int]
    twin_refused: str | None
    twin_later: bool
    inputs: list[str] | None
    described: bytes
    metadata: dict[str, Any]
    peak_bytes: int
    warmed_rows: int
    passed_over: int
    bodies: list[bytes]


Sent = Question | Table
Received = Predicted | Answered | Began | Refused | Opened
read_sent: Callable[[bytes | bytearray], Sent] = msgspec.msgpack.Decoder(Sent).decode
read_received: Callable[[bytes | bytearray], Received] = msgspec.msgpack.Decoder(Received).decode
write = msgspec.msgpack.Encoder().encode


def table_of(rows: Rows) -> Table:
    """Put rows into a message."""
    if isinstance(rows, np.ndarray):
        return Table(matrix=np.ascontiguousarray(rows, dtype=np.float64).tobytes(), columns=rows.shape[1])
    return Table(rows=rows)


def rows_of(table: Table) -> Rows:
    """Take rows out of a message."""
    if table.columns:
        return np.frombuffer(table.matrix, dtype=np.float64).reshape(-1, table.columns)
    return table.rows


def frame(number: int, payload: bytes) -> bytes:
    """Make a frame."""
    return HEADER.pack(len(payload), number) + payload
