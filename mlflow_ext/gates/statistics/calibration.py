"""How far probabilities can be trusted: bins of confidence, the expected calibration error, the Brier score.

References:
    Brier (1950), Monthly Weather Review 78, 1-3. Naeini, Cooper, Hauskrecht (2015), AAAI, 2901-2907. Guo, Pleiss, Sun,
    Weinberger (2017), ICML, 1321-1330 (for more than two classes the error of the top label).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Bins:
    """Rows by their confidence; empty bins are left out.

    Attributes:
        rows: Number of rows of each bin.
        confidence: Mean confidence of each bin.
        share: Share of rows of each bin for which it came true.
    """

    rows: "NDArray[np.int64]"
    confidence: "NDArray[np.float64]"
    share: "NDArray[np.float64]"

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of confidence and share, weighted by rows."""
        return float((self.rows * abs(self.confidence - self.share)).sum() / self.rows.sum())

    @property
    def worst(self) -> float:
        """Largest distance of any bin."""
        return float(abs(self.confidence - self.share).max())


def bins(came_true: "NDArray[Any]", confidence: "NDArray[np.float64]", count: int, *, equal_rows: bool = False) -> Bins:
    """Put rows into bins by their confidence.

    Args:
        came_true: 1 where it came true, 0 where not; shape `(rows,)`.
        confidence: Probability that was given, shape `(rows,)`.
        count: Number of bins.
        equal_rows: Bins of about equally many rows instead of equal width. Rows of the same confidence share a bin.
    """
    import numpy as np

    if equal_rows:
        edges = np.unique(np.quantile(confidence, np.linspace(0, 1, count + 1)[1:-1]))
    else:
        edges = np.linspace(0, 1, count + 1)[1:-1]
    place = np.searchsorted(edges, confidence, side="left")
    rows = np.bincount(place, minlength=len(edges) + 1)
    filled = rows > 0
    total = rows[filled]
    return Bins(
        rows=total,
        confidence=np.bincount(place, weights=confidence, minlength=len(edges) + 1)[filled] / total,
        share=np.bincount(place, weights=came_true, minlength=len(edges) + 1)[filled] / total,
    )


def brier_rows(truth: "NDArray[Any]", scores: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Give each row's Brier score.

    Args:
        truth: Position of the true class, shape `(rows,)`.
        scores: Class probabilities, shape `(rows, classes)`.

    Returns:
        Squared error of the positive class for two classes (0 to 1), summed over all for more (0 to 2); `(rows,)`.
    """
    import numpy as np

    if scores.shape[1] == 2:
        return np.asarray((scores[:, 1] - truth) ** 2, dtype=np.float64)
    wanted = np.zeros_like(scores)
    wanted[np.arange(len(truth)), truth] = 1.0
    return np.asarray(((scores - wanted) ** 2).sum(axis=1), dtype=np.float64)


def confidences(truth: "NDArray[Any]", scores: "NDArray[np.float64]") -> tuple["NDArray[Any]", "NDArray[np.float64]"]:
    """Give what came true and how confident the model was of it: the positive class of two, the top label of more."""
    if scores.shape[1] == 2:
        return truth, scores[:, 1]
    top = scores.argmax(axis=1)
    return (top == truth).astype(int), scores.max(axis=1)
