"""Rows that are a little wrong: with noise, without values, with one column shuffled or beyond what it ever was.

Every perturbation is seeded and keeps the columns' types. What the model's answers lose by it is `robustness.py`'s.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Perturb = Callable[["pd.DataFrame", float, "np.random.Generator"], "pd.DataFrame"]


@dataclass(frozen=True, slots=True)
class Perturbation:
    """One way in which rows go wrong.

    Attributes:
        word: As in the policy: `noise`, `missing`, `permuted`, `out_of_range`.
        columns: Columns that it touches.
        apply: Gives the rows at a level.
    """

    word: str
    columns: tuple[str, ...]
    apply: Perturb


def numbers(frame: "pd.DataFrame") -> list[str]:
    """Name the columns of numbers, without truth values."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return [str(name) for name in frame if is_numeric_dtype(frame[name]) and not is_bool_dtype(frame[name])]


def can_be_missing(frame: "pd.DataFrame") -> list[str]:
    """Name the columns whose type has room for a missing value."""
    from pandas.api.types import is_bool_dtype, is_integer_dtype

    plain = [name for name in frame if is_integer_dtype(frame[name]) or is_bool_dtype(frame[name])]
    return [str(name) for name in frame if name not in plain]


def noise(columns: list[str]) -> Perturbation:
    """Add normal noise of so many standard deviations of each column."""

    def apply(frame: "pd.DataFrame", level: float, rng: "np.random.Generator") -> "pd.DataFrame":
        changed = frame.copy()
        for name in columns:
            values = frame[name].to_numpy(dtype=float, na_value=float("nan"))
            spread = _spread(values)
            changed[name] = _typed(values + rng.normal(0.0, level * spread, len(values)), frame[name])
        return changed

    return Perturbation("noise", tuple(columns), apply)


def missing(columns: list[str]) -> Perturbation:
    """Blank such a share of the values."""

    def apply(frame: "pd.DataFrame", level: float, rng: "np.random.Generator") -> "pd.DataFrame":
        changed = frame.copy()
        for name in columns:
            changed[name] = frame[name].mask(rng.random(len(frame)) < level)
        return changed

    return Perturbation("missing", tuple(columns), apply)


def permuted(column: str) -> Perturbation:
    """Shuffle one column among such a share of the rows."""

    def apply(frame: "pd.DataFrame", level: float, rng: "np.random.Generator") -> "pd.DataFrame":
        import numpy as np

        changed = frame.copy()
        chosen = np.flatnonzero(rng.random(len(frame)) < level)
        order = np.arange(len(frame))
        order[chosen] = rng.permutation(chosen)
        changed[column] = frame[column].take(order).set_axis(frame.index)
        return changed

    return Perturbation("permuted", (column,), apply)


def out_of_range(column: str) -> Perturbation:
    """Move half of the rows so many ranges above one column's greatest value, and half below its least."""

    def apply(frame: "pd.DataFrame", level: float, rng: "np.random.Generator") -> "pd.DataFrame":
        import numpy as np

        changed = frame.copy()
        values = frame[column].to_numpy(dtype=float, na_value=float("nan"))
        low, high = np.nanmin(values), np.nanmax(values)
        beyond = level * ((high - low) or max(abs(high), 1.0))
        moved = np.where(rng.random(len(frame)) < 0.5, high + beyond, low - beyond)
        changed[column] = _typed(moved, frame[column])
        return changed

    return Perturbation("out_of_range", (column,), apply)


def _spread(values: Any) -> float:
    import numpy as np

    found = float(np.nanstd(values))
    return found if np.isfinite(found) else 0.0


def _typed(values: Any, like: "pd.Series[Any]") -> Any:
    """Keep the column's type: a whole number stays one, and stays within what the type holds."""
    import numpy as np
    import pandas as pd
    from pandas.api.types import is_integer_dtype

    if not is_integer_dtype(like.dtype):
        return pd.Series(values, index=like.index).astype(like.dtype)
    kind = getattr(like.dtype, "numpy_dtype", like.dtype)
    held = np.iinfo(kind)
    whole = pd.Series(np.clip(np.rint(values), float(held.min), float(held.max)), index=like.index)
    # the greatest 64-bit number is no double; one below it is
    return whole.where(whole < float(held.max), float(np.nextafter(float(held.max), 0))).astype(like.dtype)
