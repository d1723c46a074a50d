"""What a scoring process asks for when it wants a version opened in a model host of its own, as one message."""

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mlflow_ext.domain.pins import Manifest
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.domain.twins import JudgedTwin
from mlflow_ext.errors import (
    ChangedModelError,
    MlflowExtError,
    NotFoundError,
    UnavailableError,
    UnsafeModelError,
)
from mlflow_ext.policy import PrivacyPolicy, ServingPolicy
from mlflow_ext.policy_section import Section
from serving.bounds import DEFAULT, Bounds

LENGTH = struct.Struct("<Q")
"""What goes before a request: its length in bytes."""


class ModelLoadError(MlflowExtError):
    """The version's files are all right by their looks, but cannot be loaded or do not predict."""


# the narrower ones first
_KINDS = {
    kind.__name__: kind
    for kind in (ChangedModelError, ModelLoadError, NotFoundError, UnavailableError, UnsafeModelError)
}


@dataclass(frozen=True, slots=True)
class HostRequest:
    """Open a version.

    Attributes:
        version: The version.
        mlflow_url: Address of MLflow's server.
        directory: Where models are kept, `<data_dir>/models`.
        policy: How the model is served.
        pinned: The files that passed the gates; `None` for a version that no gates have passed.
        digest: Digest of the manifest of its files: open just these, from this machine's copy; `None` fetches them.
        judged: What became of the version's twin when its gates were asked.
        make_twin: Whether a twin that is missing is made; takes up to minutes.
        logged: Segments with the last logged requests, the newest first; the version predicts some of them.
        timeout_s: Seconds that loading and predicting the input example may take, and CPU seconds likewise; then the
            same for predicting logged requests, and for compiling its plan.
        memory_bytes: Memory that the host may take, beside what was there before.
        threads: Requests that it answers at a time.
        bounds: How much one request may ask.
        privacy: What of a request must not be logged as it is.
        hash_key: Secret of the keyed hashes of personal data; `None` where nothing is hashed.
    """

    version: ModelVersion
    mlflow_url: str
    directory: Path
    policy: ServingPolicy
    pinned: Manifest | None = None
    digest: str | None = None
    judged: JudgedTwin | None = None
    make_twin: bool = False
    logged: tuple[str, ...] = ()
    timeout_s: float = 60.0
    memory_bytes: int = 2 * 1024**3
    threads: int = 8
    bounds: Bounds = DEFAULT
    privacy: PrivacyPolicy | None = None
    hash_key: bytes | None = field(default=None, repr=False)


def kind_of(exc: MlflowExtError) -> str:
    """Name an error so that the other process can raise it."""
    return next((name for name, kind in _KINDS.items() if isinstance(exc, kind)), ModelLoadError.__name__)


def error_of(kind: str, reason: str) -> MlflowExtError:
    """Make the error that was named."""
    return _KINDS.get(kind, ModelLoadError)(reason[:2000])


def write(request: HostRequest) -> bytes:
    """Write a request."""
    return msgspec.msgpack.encode(request, enc_hook=_plain)


def read(content: bytes) -> HostRequest:
    """Read a request.

    Raises:
        ValueError: It is none.
    """
    return msgspec.msgpack.decode(content, type=HostRequest, dec_hook=_made)


def _plain(value: Any) -> Any:
    match value:
        case Path():
            return str(value)
        case Section():
            return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is no part of a request")


def _made(kind: type, value: Any) -> Any:
    if issubclass(kind, Path):
        return Path(value)
    if issubclass(kind, Section):
        return kind.model_validate(value)
    raise TypeError(f"{kind.__name__} is no part of a request")
