"""What a twin must not answer: values that the original refuses, or that ONNX would read differently."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from mlflow_ext.registry.twins.session import KnownValues


class HiddenEncoderError(ValueError):
    """An encoder refuses unknown categories, and it is not to be seen which column's."""


def is_hopeless(model: Any) -> bool:
    """Tell whether a model answers without looking at its rows, so that a twin would gain nothing."""
    steps = _steps(model)
    return not steps or isinstance(steps[-1], DummyClassifier | DummyRegressor)


def known_values(model: Any, names: Sequence[str]) -> KnownValues:
    """Find the values that encoders with `handle_unknown="error"` know: ONNX would encode others as nothing.

    Raises:
        HiddenEncoderError: Such an encoder does not stand at the beginning.
    """
    found: dict[int, frozenset[Any]] = {}
    seen: set[int] = set()

    def note(step: Any, positions: Sequence[int]) -> None:
        for part in _steps(step):
            if _is_strict(part):
                seen.add(id(part))
                values = [frozenset(kinds.tolist()) for kinds in part.categories_]
                found.update(zip(positions, values, strict=True))
            # keeps each column in its place, and has nothing to fill in
            if type(part) is not SimpleImputer or part.add_indicator:
                break

    first = next(iter(_steps(model)), None)
    if isinstance(first, ColumnTransformer):
        order = [str(name) for name in getattr(first, "feature_names_in_", names)]
        for name, step, _ in first.transformers_:
            chosen = [order[number] for number in first._transformer_to_input_indices.get(name, [])]
            if chosen and set(chosen) <= set(names):
                note(step, [names.index(one) for one in chosen])
    elif first is not None:
        note(first, range(len(names)))
    hidden = next((part for part in estimators(model) if _is_strict(part) and id(part) not in seen), None)
    if hidden is not None:
        raise HiddenEncoderError(f"a {type(hidden).__name__} refuses unknown categories of columns that it shares")
    return found


def _steps(step: Any) -> list[Any]:
    steps = [one for _, one in step.steps] if hasattr(step, "steps") else [step]
    return [one for one in steps if one is not None and not isinstance(one, str)]


def _is_strict(part: Any) -> bool:
    return isinstance(part, OneHotEncoder | OrdinalEncoder) and part.handle_unknown == "error"


def estimators(value: Any) -> Iterator[Any]:
    """Give every fitted estimator inside one, however it is held."""
    if isinstance(value, BaseEstimator):
        yield value
        for name, inner in vars(value).items():
            # what stands under other names are unfitted templates
            if name.endswith("_") or name in ("steps", "transformer_list"):
                yield from estimators(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from estimators(inner)
    elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        for inner in value:
            yield from estimators(inner)
