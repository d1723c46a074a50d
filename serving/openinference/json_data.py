"""A tensor's elements as JSON, exactly typed: what the datatype cannot hold is refused. Raw: `tensors.py`."""

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from mlflow_ext.errors import InvalidInputError
from serving.openinference.tensors import BYTES, DTYPES, Array

BASE64: dict[str, Any] = {"content_type": "base64"}
"""Parameters of a BYTES tensor whose JSON elements are base64, since they are no text."""
_WHAT: dict[str, tuple[set[type], str]] = {
    "b": ({bool}, "true or false"),
    "i": ({int}, "whole numbers"),
    "u": ({int}, "whole numbers"),
    "f": ({int, float, type(None)}, "numbers or null"),
    "O": ({str}, "strings"),
}


def from_json(datatype: str, shape: Sequence[int], data: Any, parameters: Mapping[str, Any]) -> Array:
    """Read the value of `data`: a flat list in row-major order, or lists nested as the shape says.

    `null` is a missing floating-point number (NaN).

    Raises:
        InvalidInputError: It has another shape, elements of another type, or numbers that the datatype cannot hold.
    """
    flat, nested = _flat(data)
    if len(nested) > 1 and tuple(nested) != tuple(shape):
        raise InvalidInputError(f"the data is nested as shape {nested}, the tensor's shape is {list(shape)}")
    if len(flat) != math.prod(shape):
        raise InvalidInputError(f"{len(flat)} elements of data; shape {list(shape)} has {math.prod(shape)}")
    dtype = DTYPES[datatype]
    types, what = _WHAT[dtype.kind]
    if not set(map(type, flat)) <= types:
        raise InvalidInputError(f"the data holds something else than {what}, which {datatype} is made of")
    if datatype == BYTES:
        return _bytes(flat, parameters).reshape(shape)
    try:
        if dtype.kind != "f":
            return np.array(flat, dtype=dtype).reshape(shape)
        wide = np.array(flat, dtype=np.float64)
    except OverflowError as exc:
        raise InvalidInputError(f"the data holds a number that {datatype} cannot") from exc
    with np.errstate(over="ignore"):
        narrow = wide.astype(dtype)
    if np.isinf(narrow).sum() != np.isinf(wide).sum():
        raise InvalidInputError(f"the data holds a number that {datatype} cannot")
    return narrow.reshape(shape)


def to_json(datatype: str, data: Array) -> tuple[list[Any], dict[str, Any]]:
    """Give the elements as a flat list, and the parameters that go with it.

    JSON has no NaN and no infinity: both become `null`. BYTES that is not UTF-8 becomes base64.
    """
    flat = data.ravel()
    if datatype == BYTES:
        try:
            return [item.decode() for item in flat], {}
        except UnicodeDecodeError:
            return [base64.b64encode(item).decode() for item in flat], BASE64
    listed = flat.tolist()
    if data.dtype.kind == "f" and not np.isfinite(flat).all():
        return [item if math.isfinite(item) else None for item in listed], {}
    return listed, {}


def _flat(data: Any) -> tuple[list[Any], list[int]]:
    """Take nested lists apart level by level; gives the elements and the lengths of the levels."""
    if not isinstance(data, list):
        raise InvalidInputError("data is not a list")
    level, lengths = data, [len(data)]
    while level and isinstance(level[0], list):
        length = len(level[0])
        if not all(isinstance(part, list) and len(part) == length for part in level):
            raise InvalidInputError("the data is nested unevenly")
        lengths.append(length)
        level = list(chain.from_iterable(level))
    return level, lengths


def _bytes(flat: Sequence[str], parameters: Mapping[str, Any]) -> Array:
    items = np.empty(len(flat), dtype=object)
    try:
        if parameters.get("content_type") == BASE64["content_type"]:
            items[:] = [base64.b64decode(item, validate=True) for item in flat]
        else:
            items[:] = [item.encode() for item in flat]
    except (UnicodeEncodeError, binascii.Error, ValueError) as exc:
        raise InvalidInputError("the data holds strings that are neither UTF-8 text nor, where said, base64") from exc
    return items
