"""Two samples of the same columns: which rows are in both, and how far apart their columns are."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_MOST_VALUES = 50
"""Of a column of words, rarer values count as one."""


@dataclass(frozen=True, slots=True)
class Distance:
    """How far apart one column is in two samples.

    Attributes:
        column: Its name.
        distance: From 0 (alike) to 1: Kolmogorov-Smirnov for numbers, total variation for everything else.
        p_value: How likely at least this distance is by chance.
        method: `ks` or `chi2`.
    """

    column: str
    distance: float
    p_value: float
    method: str


def row_hashes(frame: "pd.DataFrame", like: "pd.DataFrame") -> "NDArray[np.uint64]":
    """Give one number a row, the same for rows with the same values, whatever types two files keep them in.

    Args:
        frame: Rows.
        like: The other sample, with the same columns: where one of both is coarser, the values are compared so.
    """
    import numpy as np
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    plain: dict[str, pd.Series[Any]] = {}
    for name in frame.columns:
        one, other = frame[name], like[name]
        if is_numeric_dtype(one) and is_numeric_dtype(other):
            values = one.to_numpy(dtype=np.float64, na_value=float("nan"))
            if any(str(each.dtype).lower() == "float32" for each in (one, other)):
                values = values.astype(np.float32).astype(np.float64)
            # 0.0 and -0.0 are the same value
            plain[name] = pd.Series(values + 0.0)
        else:
            plain[name] = one.astype("object").where(one.notna(), "").map(str).reset_index(drop=True)
    return np.asarray(pd.util.hash_pandas_object(pd.DataFrame(plain), index=False).to_numpy(), dtype=np.uint64)


def distances(before: "pd.DataFrame", after: "pd.DataFrame") -> list[Distance]:
    """Compare each column of two samples, furthest apart first; a column without values on one side is left out."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    found = []
    for name in before.columns:
        one, other = before[name].dropna(), after[name].dropna()
        if not len(one) or not len(other):
            continue
        numbers = all(is_numeric_dtype(each) and not is_bool_dtype(each) for each in (one, other))
        found.append(_of_numbers(str(name), one, other) if numbers else _of_words(str(name), one, other))
    return sorted(found, key=lambda one: -one.distance)


def _of_numbers(name: str, one: "pd.Series[Any]", other: "pd.Series[Any]") -> Distance:
    import numpy as np
    from scipy.stats import ks_2samp

    found = ks_2samp(one.to_numpy(dtype=np.float64), other.to_numpy(dtype=np.float64), method="asymp")
    return Distance(name, float(found.statistic), float(found.pvalue), "ks")


def _of_words(name: str, one: "pd.Series[Any]", other: "pd.Series[Any]") -> Distance:
    import numpy as np
    import pandas as pd
    from scipy.stats import chi2_contingency

    words = pd.concat([one.map(str), other.map(str)])
    kept = words.value_counts().index[:_MOST_VALUES]
    counts = np.array([_counted(side, kept) for side in (one, other)], dtype=np.float64)
    counts = np.nan_to_num(counts)
    counts = counts[:, counts.sum(axis=0) > 0]
    shares = counts / counts.sum(axis=1, keepdims=True)
    p_value = 1.0 if counts.shape[1] < 2 else float(chi2_contingency(counts).pvalue)
    return Distance(name, float(np.abs(shares[0] - shares[1]).sum() / 2), p_value, "chi2")


def _counted(values: "pd.Series[Any]", kept: "pd.Index[Any]") -> "pd.Series[Any]":
    words = values.map(str)
    return words.where(words.isin(kept), "(others)").value_counts().reindex([*kept, "(others)"])
