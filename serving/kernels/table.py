"""From rows to the matrix that an estimator takes: the usual transformers, in NumPy. No estimators here."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler

Matrix = NDArray[np.float64]
Columns = Sequence[tuple[Any, ...]]
Part = Callable[[Columns], Matrix]
"""From some columns of a request to some columns of the matrix."""


class NotInTrainingError(ValueError):
    """A value that the model may refuse or treat in a way of its own: the original decides."""


def table_kernel(steps: Sequence[Any], columns: Sequence[str]) -> Callable[[Columns | Matrix], Matrix] | None:
    """Compile what comes before the estimator; `None` where a step is none of those we know.

    Args:
        steps: Fitted transformers.
        columns: Names of the rows' values.
    """
    if steps and type(steps[0]) is ColumnTransformer:
        gather = _gathered(steps[0], list(columns))
        steps = steps[1:]
    else:
        gather = _numbers
    scaled = _scaled(steps)
    if gather is None or scaled is None:
        return None
    if gather is _numbers:
        return lambda rows: scaled(np.asarray(rows, dtype=np.float64))
    return lambda rows: scaled(gather(list(rows.T) if isinstance(rows, np.ndarray) else list(zip(*rows, strict=True))))


def _gathered(transformer: Any, names: list[str]) -> Part | None:
    if getattr(transformer, "transformer_weights", None):
        return None
    parts: list[tuple[list[int], Part]] = []
    for _, step, chosen in transformer.transformers_:
        if step == "drop" or len(chosen) == 0:
            continue
        positions = [names.index(one) if isinstance(one, str) else int(one) for one in chosen]
        part = _part(step)
        if part is None:
            return None
        parts.append((positions, part))
    return lambda columns: np.concatenate(
        [part([columns[position] for position in positions]) for positions, part in parts], axis=1
    )


def _part(step: Any) -> Part | None:
    steps = [one for _, one in step.steps] if hasattr(step, "steps") else [step]
    steps = [one for one in steps if not _passes_through(one)]
    if steps and type(steps[0]) is SimpleImputer and steps[0].statistics_.dtype == object:
        # JSON's texts are never missing: what is missing goes to the original
        steps = steps[1:]
    if steps and type(steps[0]) in (OneHotEncoder, OrdinalEncoder):
        encoded = _encoded(steps[0])
        after = _scaled(steps[1:])
        if encoded is None or after is None:
            return None
        return lambda columns: after(encoded(columns))
    scaled = _scaled(steps)
    return None if scaled is None else lambda columns: scaled(_numbers_by_column(columns))


def _passes_through(step: Any) -> bool:
    # scikit-learn puts a function that does nothing where it was told "passthrough"
    return (isinstance(step, str) and step == "passthrough") or (
        type(step) is FunctionTransformer and step.func is None and not step.validate
    )


def _numbers(columns: Columns) -> Matrix:
    return np.array(columns, dtype=np.float64)


def _numbers_by_column(columns: Columns) -> Matrix:
    return np.array(columns, dtype=np.float64).T


def _scaled(steps: Sequence[Any]) -> Callable[[Matrix], Matrix] | None:
    """Compile steps that work on each number alone; missing values never get here."""
    todo: list[tuple[str, Any]] = []
    for step in steps:
        if type(step) is SimpleImputer:
            if step.add_indicator or step.statistics_.dtype == object or np.isnan(step.statistics_).any():
                return None
        elif type(step) is StandardScaler:
            todo += [("subtract", step.mean_)] if step.with_mean else []
            todo += [("divide", step.scale_)] if step.with_std else []
        elif type(step) is MinMaxScaler and not step.clip:
            todo += [("multiply", step.scale_), ("add", step.min_)]
        else:
            return None

    def scaled(matrix: Matrix) -> Matrix:
        for name, operand in todo:
            matrix = getattr(np, name)(matrix, operand)
        return matrix

    return scaled


def _encoded(encoder: Any) -> Part | None:
    known = [{value: number for number, value in enumerate(kinds.tolist())} for kinds in encoder.categories_]
    if type(encoder) is OrdinalEncoder:
        return lambda columns: (
            np.array(
                [[_number(numbers, value) for value in column] for numbers, column in zip(known, columns, strict=True)],
                dtype=np.float64,
            ).T
        )
    if encoder.drop is not None or getattr(encoder, "_infrequent_enabled", False):
        return None
    width = sum(len(numbers) for numbers in known)
    offsets = np.cumsum([0, *(len(numbers) for numbers in known[:-1])]).tolist()
    refuses = encoder.handle_unknown != "ignore"

    def one_hot(columns: Columns) -> Matrix:
        matrix = np.zeros((len(columns[0]), width))
        for numbers, offset, column in zip(known, offsets, columns, strict=True):
            places = [numbers.get(value, -1) for value in column]
            if -1 not in places:
                matrix[range(len(places)), [offset + place for place in places]] = 1.0
            elif refuses:
                raise NotInTrainingError
            else:
                for row, place in enumerate(places):
                    if place >= 0:
                        matrix[row, offset + place] = 1.0
        return matrix

    return one_hot


def _number(numbers: dict[Any, int], value: Any) -> int:
    try:
        return numbers[value]
    except KeyError:
        raise NotInTrainingError from None
