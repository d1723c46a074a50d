"""Arrow arrays as numbers or counted levels, without pandas. Where counts go: `numbers.py`, `levels.py`."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from drift.engine.scale import Floats

_TYPES = {
    pa.int8(): np.int8,
    pa.int16(): np.int16,
    pa.int32(): np.int32,
    pa.int64(): np.int64,
    pa.uint8(): np.uint8,
    pa.uint16(): np.uint16,
    pa.uint32(): np.uint32,
    pa.uint64(): np.uint64,
    pa.float32(): np.float32,
    pa.float64(): np.float64,
}


def is_number(kind: pa.DataType) -> bool:
    """Tell whether an Arrow type holds numbers; truth values are none."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_time(kind: pa.DataType) -> bool:
    """Tell whether an Arrow type holds dates or times."""
    return bool(pa.types.is_temporal(kind))


def numbers(column: pa.ChunkedArray) -> Iterator[tuple[Floats, int, int]]:
    """Give a column's numbers, portion by portion.

    Yields:
        64-bit floats without nulls, the number of nulls, and how many values are no numbers (not among the others).
    """
    for chunk in column.chunks:
        if pa.types.is_null(chunk.type):
            yield np.empty(0), len(chunk), 0
            continue
        present = chunk.drop_null() if chunk.null_count else chunk
        unreadable = 0
        if not is_number(present.type):
            values, unreadable = _parsed(present)
        else:
            kept = present if present.type in _TYPES else pc.cast(present, pa.float64())
            values = raw(kept).astype(np.float64, copy=False)
        yield values, chunk.null_count, unreadable


def counted(
    column: pa.ChunkedArray, name_of: Callable[[Any], str | None]
) -> Iterator[tuple[list[tuple[str, int]], int]]:
    """Count a column's levels, portion by portion.

    Args:
        column: Any type.
        name_of: Gives a value's level; `None` for a missing one.

    Yields:
        Levels with their counts (a level may come twice), and the number of missing values.
    """
    for chunk in column.chunks:
        if pa.types.is_null(chunk.type):
            yield [], len(chunk)
            continue
        encoded = chunk if pa.types.is_dictionary(chunk.type) else pc.dictionary_encode(chunk)
        indices = encoded.indices
        nulls = indices.null_count
        if nulls:
            indices = indices.drop_null()
        counts = np.bincount(raw(indices), minlength=len(encoded.dictionary)).tolist()
        found: list[tuple[str, int]] = []
        for value, count in zip(encoded.dictionary.to_pylist(), counts, strict=True):
            name = name_of(value)
            if name is None:
                nulls += count
            else:
                found.append((name, count))
        yield found, nulls


def level_name(value: Any) -> str | None:
    """Write a value as a level: 1, 1.0 and the text of it are one level, as are True and `true`."""
    match value:
        case None:
            return None
        case bool():
            return str(value).lower()
        case int() | float():
            return None if value != value else format(float(value), ".10g")
        case _:
            return str(value)


def raw(array: pa.Array) -> NDArray[Any]:
    """Give the values of an array without nulls."""
    kind = np.dtype(_TYPES[array.type])
    return (
        np.frombuffer(array.buffers()[1], kind, len(array), array.offset * kind.itemsize)
        if len(array)
        else np.empty(0, kind)
    )


def _parsed(array: pa.Array) -> tuple[Floats, int]:
    """Read text as numbers, and count what is none."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return np.empty(0), len(array)
    values: list[float] = []
    for one in array.to_pylist():
        try:
            values.append(float(one))
        except ValueError:
            continue
    return np.array(values), len(array) - len(values)
