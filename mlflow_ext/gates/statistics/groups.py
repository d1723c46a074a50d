"""Rows by group: how columns become groups, and how far groups are treated alike.

Values by group come from fairlearn; intervals are a plain bootstrap, because fairlearn's takes minutes on some thousand
rows.

References:
    Hardt, Price, Srebro (2016), NeurIPS, 3315-3323 (equalised odds). https://fairlearn.org, user guide, assessment.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

MISSING = "(missing)"
OTHERS = "(others)"
MOST_GROUPS = 100
"""Of a column with more values than this, the most frequent are groups, and all others together one more."""
_RESAMPLES = 500


def groups_of(column: "pd.Series[Any]", bins: int) -> "pd.Series[Any]":
    """Give each row's group as text: the value itself, or the range where there are many numbers.

    Args:
        column: Values, one a row.
        bins: A column of numbers with more different values than this is cut into so many ranges of equally many rows.
    """
    import pandas as pd

    numbers = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    if numbers and column.nunique() > bins:
        named = pd.qcut(column, bins, duplicates="drop", precision=4).astype("object")
    else:
        named = column.astype("object")
    words = named.where(column.notna(), MISSING).map(str).rename(str(column.name))
    counts = words.value_counts()
    return words if len(counts) <= MOST_GROUPS else words.where(words.isin(counts.index[:MOST_GROUPS]), OTHERS)


def value_by_group(
    value: "Callable[[NDArray[Any], NDArray[Any]], float]",
    target: "NDArray[Any]",
    answer: "NDArray[Any]",
    groups: "pd.Series[Any]",
) -> "pd.Series[float]":
    """Give a measure for each group.

    Args:
        value: The measure of `(target, answer)`.
        target: Ground truth.
        answer: A version's answers.
        groups: Group of each row.
    """
    from fairlearn.metrics import MetricFrame

    frame = MetricFrame(metrics=value, y_true=target, y_pred=answer, sensitive_features=groups.to_numpy())
    found: pd.Series[float] = frame.by_group.astype(float)
    return found


def parity_difference(said: "NDArray[Any]", groups: "NDArray[np.int64]") -> float:
    """Give the demographic parity difference: how far the shares of positive answers of two groups are apart at most.

    Args:
        said: 1 where the answer is positive, 0 where not.
        groups: Number of each row's group.
    """
    return _span(_rates(said, groups))


def odds_difference(truth: "NDArray[Any]", said: "NDArray[Any]", groups: "NDArray[np.int64]") -> float:
    """Give the equalised odds difference: the greater of the spans of true and of false positive rates.

    Args:
        truth: 1 for the positive class.
        said: 1 where the answer is positive.
        groups: Number of each row's group.
    """
    spans = [_span(_rates(said[truth == one], groups[truth == one])) for one in (0, 1)]
    return max(spans)


def interval(statistic: "Callable[[NDArray[np.int64]], float]", rows: int, confidence: float) -> tuple[float, float]:
    """Give the percentile bootstrap interval of a statistic of row numbers; the seed is fixed."""
    import numpy as np

    rng = np.random.default_rng(0)
    drawn = np.array([statistic(rng.integers(0, rows, rows)) for _ in range(_RESAMPLES)])
    low, high = np.nanquantile(drawn, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def _rates(said: "NDArray[Any]", groups: "NDArray[np.int64]") -> "NDArray[np.float64]":
    import numpy as np

    rows = np.bincount(groups)
    held = rows > 0
    return np.asarray(np.bincount(groups, weights=said)[held] / rows[held], dtype=np.float64)


def _span(rates: "NDArray[np.float64]") -> float:
    return float(rates.max() - rates.min()) if len(rates) else 0.0
