"""What is kept about a version's ONNX twin. Making one is in `registry/twins/`, serving by one in `serving/`."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from mlflow_ext.errors import MlflowExtError


class TwinRefusedError(MlflowExtError):
    """There is no twin that could answer for the model."""


class TwinNotMadeError(TwinRefusedError):
    """The twin is being made."""


@dataclass(frozen=True, slots=True)
class TwinFacts:
    """A twin that agreed with its model.

    Attributes:
        sha256: SHA-256 of its file, in hexadecimal.
        size_bytes: Size of its file.
        precision: `double` or `single`: of its input.
        rows: On how many rows it was compared.
        difference: Largest difference of its answers (labels: of its class probabilities) from the model's.
    """

    sha256: str
    size_bytes: int
    precision: str
    rows: int
    difference: float

    def as_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form."""
        return asdict(self)

    def check(self, content: bytes) -> None:
        """Make sure that a file is the twin that was compared.

        Raises:
            TwinRefusedError: It is not.
        """
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise TwinRefusedError(f"its file was changed after it was compared (SHA-256 {found[:12]}…)")


@dataclass(frozen=True, slots=True)
class JudgedTwin:
    """What became of the twin when the version's gates were asked.

    Attributes:
        facts: The twin; `None` where there is none.
        tolerance: By how much a regressor's answers could differ (`serving.onnx_tolerance`).
        refused: Why there is none.
        run_id: The promotion's MLflow run, which holds the file.
        artifact: Path of the file in the run.
    """

    facts: TwinFacts | None
    tolerance: float
    refused: str | None = None
    run_id: str | None = None
    artifact: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "JudgedTwin":
        """Read the form that `as_dict` gives."""
        facts = document["facts"]
        return cls(**{**document, "facts": TwinFacts(**facts) if facts else None})
