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
        check_file(content, self.sha256)


def check_file(content: bytes, sha256: str) -> None:
    """Make sure that a file is the one whose digest was kept.

    Raises:
        TwinRefusedError: It is not.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise TwinRefusedError(f"its file was changed after it was compared (SHA-256 {found[:12]}…)")


@dataclass(frozen=True, slots=True)
class QuantisedFacts:
    """How a quantised twin compares with the unquantised one, on evaluation rows with their ground truth.

    Attributes:
        sha256: SHA-256 of its file, in hexadecimal.
        size_bytes: Size of its file.
        rows: On how many rows it was judged.
        calibration_rows: From how many other rows its scales were taken.
        bound: By how much a measure could be worse (`serving.quantise_loss`).
        unquantised: The unquantised twin's measures by name: `accuracy` and `macro_recall` of labels, `r2` of numbers.
        quantised: Its own.
        changed: Share of the labels that changed; of numbers the largest change, in standard deviations of the truth.
        unquantised_us: Microseconds that the unquantised twin takes, by the number of rows.
        quantised_us: Microseconds that it takes.
    """

    sha256: str
    size_bytes: int
    rows: int
    calibration_rows: int
    bound: float
    unquantised: dict[str, float]
    quantised: dict[str, float]
    changed: float
    unquantised_us: dict[str, float]
    quantised_us: dict[str, float]

    def refusal(self, bound: float) -> str | None:
        """Say what it loses too much of for a bound; `None` where it passes."""
        for name, before in self.unquantised.items():
            after = self.quantised[name]
            # written so that a measure that is no number is lost
            if not before - after <= bound:
                return f"{name} falls from {before:.4f} to {after:.4f}, by more than quantise_loss {bound:g}"
        return None


@dataclass(frozen=True, slots=True)
class JudgedTwin:
    """What became of the twin when the version's gates were asked.

    Attributes:
        facts: The twin; `None` where there is none.
        tolerance: By how much a regressor's answers could differ (`serving.onnx_tolerance`).
        refused: Why there is none.
        run_id: The promotion's MLflow run, which holds the file.
        artifact: Path of the file in the run.
        quantised: The quantised twin; `None` where there is none.
        quantised_refused: Why there is none, where policy wants one.
        quantised_artifact: Path of its file in the run.
    """

    facts: TwinFacts | None
    tolerance: float
    refused: str | None = None
    run_id: str | None = None
    artifact: str | None = None
    quantised: QuantisedFacts | None = None
    quantised_refused: str | None = None
    quantised_artifact: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "JudgedTwin":
        """Read the form that `as_dict` gives."""
        facts, quantised = document["facts"], document.get("quantised")
        return cls(
            **{
                **document,
                "facts": TwinFacts(**facts) if facts else None,
                "quantised": QuantisedFacts(**quantised) if quantised else None,
            }
        )
