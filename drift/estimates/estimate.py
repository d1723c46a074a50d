"""Performance without labels: what is expected of a window, or why nothing can be. How: `classes.py`, `losses.py`."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from drift.engine.scale import Floats

INSIDE = 0.95
"""Share of what may come true that an interval holds."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Performance as it is expected to be.

    Attributes:
        metrics: By name, each with `<name>_low` and `<name>_high`, between which it is expected in 95 of 100 cases.
        note: Why there is none; empty where there is.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    note: str = ""


def estimate(
    reference: pd.DataFrame,
    inputs: pd.DataFrame,
    outputs: pd.DataFrame,
    target: str,
    model_type: str,
    *,
    seed: int = 0,
) -> Estimate:
    """Estimate how well a window was answered.

    It does not hold concept drift: a world in which the same inputs have other outcomes cannot be seen without labels.

    Args:
        reference: Rows with inputs, the model's answers (`prediction`, or `prediction_0`, `prediction_1` …) and labels.
        inputs: The window's inputs.
        outputs: The model's answers in the window, row by row.
        target: Column of the labels.
        model_type: `classifier` or `regressor`.
        seed: Of the draws.
    """
    # scikit-learn comes with them: not for windows that are not compared
    from drift.estimates.classes import estimate_classes
    from drift.estimates.losses import estimate_losses

    if target not in reference:
        return Estimate(note=f"the reference has no labels (column {target})")
    random = np.random.default_rng(seed)
    # many small computations: threads that wait for each other would cost more than they bring
    with threadpool_limits(limits=1):
        found = (
            estimate_losses(reference, inputs, outputs, target, random)
            if model_type == "regressor"
            else estimate_classes(reference, outputs, target, random)
        )
    return Estimate(note=found) if isinstance(found, str) else Estimate(metrics=found)


def edges(values: Floats) -> tuple[float, float]:
    """Give the ends of the interval of what was drawn."""
    outside = (1 - INSIDE) / 2
    return float(np.quantile(values, outside)), float(np.quantile(values, 1 - outside))
