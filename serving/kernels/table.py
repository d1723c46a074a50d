"""From rows to the matrix that an estimator takes: the usual transformers, in NumPy. No estimators here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Columns = Sequence[Sequence[Any]]
Part = Callable[[Columns], Matrix]
"""From some columns of a request to some columns of the matrix."""


class NotInTrainingError(ValueError):
    """A value that the model may refuse or treat in a way of its own: the original decides."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """What is done to each number alone, one operation of NumPy after the other."""

    todo: tuple[tuple[str, Any], ...]

    def __call__(self, matrix: Matrix) -> Matrix:
        """Compute."""
        for name, operand in self.todo:
            matrix = getattr(np, name)(matrix, operand)
        return matrix


@dataclass(frozen=True, slots=True)
class Numbers:
    """Columns of numbers, each scaled."""

    after: Scaled

    def __call__(self, columns: Columns) -> Matrix:
        """Compute."""
        return self.after(np.array(columns, dtype=np.float64).T)


@dataclass(frozen=True, slots=True)
class Ordinal:
    """Columns of categories, each category its number."""

    known: tuple[dict[Any, int], ...]
    after: Scaled

    def __call__(self, columns: Columns) -> Matrix:
        """Compute."""
        numbered = [
            [_number(numbers, value) for value in column] for numbers, column in zip(self.known, columns, strict=True)
        ]
        return self.after(np.array(numbered, dtype=np.float64).T)


@dataclass(frozen=True, slots=True)
class OneHot:
    """Columns of categories, each category a column of its own."""

    known: tuple[dict[Any, int], ...]
    refuses: bool
    after: Scaled

    def __call__(self, columns: Columns) -> Matrix:
        """Compute."""
        matrix = np.zeros((len(columns[0]), sum(len(numbers) for numbers in self.known)))
        offset = 0
        for numbers, column in zip(self.known, columns, strict=True):
            places = [numbers.get(value, -1) for value in column]
            if -1 not in places:
                matrix[range(len(places)), [offset + place for place in places]] = 1.0
            elif self.refuses:
                raise NotInTrainingError
            else:
                for row, place in enumerate(places):
                    if place >= 0:
                        matrix[row, offset + place] = 1.0
            offset += len(numbers)
        return self.after(matrix)


@dataclass(frozen=True, slots=True)
class PlainTable:
    """Rows of numbers, in the order in which the estimator takes them."""

    scaled: Scaled

    def __call__(self, rows: Columns | Matrix) -> Matrix:
        """Compute."""
        return self.scaled(np.asarray(rows, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class MixedTable:
    """Rows of anything: by their positions some columns go to each part, and the parts' matrices side by side."""

    parts: tuple[tuple[list[int], Part], ...]
    scaled: Scaled

    def __call__(self, rows: Columns | Matrix) -> Matrix:
        """Compute."""
        columns = list(rows.T) if isinstance(rows, np.ndarray) else list(zip(*rows, strict=True))
        found = [part([columns[position] for position in positions]) for positions, part in self.parts]
        return self.scaled(np.concatenate(found, axis=1))


def table_kernel(steps: Sequence[Any], columns: Sequence[str]) -> PlainTable | MixedTable | None:
    """Compile what comes before the estimator; `None` where a step is none of those we know.

    Args:
        steps: Fitted transformers.
        columns: Names of the rows' values.
    """
    # only where models are loaded; a process that computes needs no scikit-learn
    from sklearn.compose import ColumnTransformer

    if not steps or type(steps[0]) is not ColumnTransformer:
        scaled = _scaled(steps)
        return None if scaled is None else PlainTable(scaled)
    parts, scaled = _gathered(steps[0], list(columns)), _scaled(steps[1:])
    return None if parts is None or scaled is None else MixedTable(parts, scaled)


def _gathered(transformer: Any, names: list[str]) -> tuple[tuple[list[int], Part], ...] | None:
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
    return tuple(parts)


def _part(step: Any) -> Part | None:
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    steps = [one for _, one in step.steps] if hasattr(step, "steps") else [step]
    steps = [one for one in steps if not _passes_through(one)]
    if steps and type(steps[0]) is SimpleImputer and steps[0].statistics_.dtype == object:
        # JSON's texts are never missing: what is missing goes to the original
        steps = steps[1:]
    if steps and type(steps[0]) in (OneHotEncoder, OrdinalEncoder):
        after = _scaled(steps[1:])
        return None if after is None else _encoded(steps[0], after)
    scaled = _scaled(steps)
    return None if scaled is None else Numbers(scaled)


def _passes_through(step: Any) -> bool:
    from sklearn.preprocessing import FunctionTransformer

    # scikit-learn puts a function that does nothing where it was told "passthrough"
    return (isinstance(step, str) and step == "passthrough") or (
        type(step) is FunctionTransformer and step.func is None and not step.validate
    )


def _scaled(steps: Sequence[Any]) -> Scaled | None:
    """Compile steps that work on each number alone; missing values never get here."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

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
    return Scaled(tuple(todo))


def _encoded(encoder: Any, after: Scaled) -> Part | None:
    from sklearn.preprocessing import OrdinalEncoder

    known = tuple({value: number for number, value in enumerate(kinds.tolist())} for kinds in encoder.categories_)
    if type(encoder) is OrdinalEncoder:
        return Ordinal(known, after)
    if encoder.drop is not None or getattr(encoder, "_infrequent_enabled", False):
        return None
    return OneHot(known, encoder.handle_unknown != "ignore", after)


def _number(numbers: dict[Any, int], value: Any) -> int:
    try:
        return numbers[value]
    except KeyError:
        raise NotInTrainingError from None
