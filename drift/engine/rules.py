"""By which rules a window is judged. Policy gives the values (`mlflow_ext/policy.py`), `verdict.py` follows them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Rules:
    """How sure a verdict has to be.

    Attributes:
        alpha: Chance that a window without drift has any drifted column (`holm`), or share of false ones among the
            drifted columns (`fdr`).
        correction: How `alpha` is kept over all columns.
        least_effect: Difference below which nothing is drift, however sure: largest difference of distribution
            functions, total variation, or change of the missing share, 0 to 1.
        number_method: What decides about numbers.
        category_method: What decides about categories.
        smallest_shift: Shift, in standard deviations of the reference, that a window must be able to show.
        power: Chance with which it must.
        drift_share: Weighted share of drifted inputs from which on the window has drifted; 0: any one.
        weights: Weight by column, as somebody said.
        importance: Weight of the other columns, 1 on average, 0 for what it does not name; `None`: 1 each.
        ignore: Columns left out.
    """

    alpha: float = 0.005
    correction: Literal["holm", "fdr"] = "holm"
    least_effect: float = 0.05
    number_method: str = "ks"
    category_method: str = "chi_square"
    smallest_shift: float = 0.5
    power: float = 0.9
    drift_share: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)
    importance: Mapping[str, float] | None = None
    ignore: frozenset[str] = frozenset()

    def weight_of(self, column: str) -> float:
        """Give what an input column weighs in the share of drifted ones."""
        other = 1.0 if self.importance is None else self.importance.get(column, 0.0)
        return self.weights.get(column, other)
