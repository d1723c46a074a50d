"""Rows on which a plan and its kernel are tried against the original model: random, and at the model's own edges."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mlflow.types import DataType
from numpy.typing import NDArray

ROWS = 4_000
_SEED = 20_130_101
_EDGES = (0.0, 1.0, -1.0, 1e-300, -1e-300, 1e30, -1e30)
_TEXTS = ("", "a", "other", "Ä", "0")


def trial_rows(model: Any, columns: Sequence[tuple[str, DataType]]) -> list[tuple[Any, ...]]:
    """Make rows that a fitted scikit-learn model can be asked with.

    Numbers spread over several scales, and lie on the thresholds of the model's trees and just beside them; texts come
    from the categories that its encoders have learnt, where it has some, and from elsewhere otherwise.

    Args:
        model: Fitted estimator or pipeline.
        columns: Name and type of each value of a row.

    Returns:
        4,000 rows, always the same for the same model.
    """
    random = np.random.default_rng(_SEED)
    texts = _texts(model)
    numbers = _numbers(model)
    made = [_column(random, kind, texts.get(name), numbers) for name, kind in columns]
    return list(zip(*made, strict=True))


def _column(
    random: np.random.Generator, kind: DataType, texts: list[Any] | None, numbers: NDArray[np.float64]
) -> list[Any]:
    if kind is DataType.string:
        return list(random.choice(np.array(texts or _TEXTS, dtype=object), ROWS))
    if kind is DataType.boolean:
        return [bool(one) for one in random.integers(0, 2, ROWS)]
    if kind in (DataType.long, DataType.integer):
        wide = random.integers(-(2**31), 2**31 - 1, ROWS)
        return [int(one) for one in np.where(random.random(ROWS) < 0.9, random.integers(-50, 3_000, ROWS), wide)]
    scale = 10.0 ** random.integers(-3, 5, ROWS)
    values = random.normal(size=ROWS) * scale
    edges = random.choice(np.concatenate([_EDGES, numbers, np.nextafter(numbers, np.inf)]), ROWS)
    values = np.where(random.random(ROWS) < 0.3, edges, values)
    return [float(one) for one in values]


def _parts(model: Any) -> list[Any]:
    """Give the estimators inside pipelines and column transformers."""
    if hasattr(model, "steps"):
        return [part for _, step in model.steps for part in _parts(step)]
    if hasattr(model, "transformers_"):
        return [part for _, step, _ in model.transformers_ for part in _parts(step)]
    return [model]


def _texts(model: Any) -> dict[str, list[Any]]:
    """Give the categories by column, as far as they are texts."""
    found: dict[str, list[Any]] = {}
    if hasattr(model, "steps"):
        return {name: texts for _, step in model.steps for name, texts in _texts(step).items()}
    for _, step, chosen in getattr(model, "transformers_", ()):
        for part in _parts(step):
            kinds = getattr(part, "categories_", None)
            if kinds is None or isinstance(chosen, str):
                continue
            for name, values in zip(chosen, kinds, strict=False):
                own = [one for one in values.tolist() if isinstance(one, str)]
                unknown = ["never seen"] if getattr(part, "handle_unknown", "error") == "ignore" else []
                if own:
                    found[name] = own + unknown
    return found


def _numbers(model: Any) -> NDArray[np.float64]:
    """Give thresholds of the model's trees."""
    trees = [one.tree_ for part in _parts(model) for one in getattr(part, "estimators_", ()) if hasattr(one, "tree_")]
    if not trees:
        return np.zeros(1)
    return np.unique(np.concatenate([tree.threshold[tree.children_left >= 0] for tree in trees]))[:100_000]
