"""A tensor of the protocol, and its data as raw bytes. The same as JSON: `json_data.py`.

Reference: the protocol's "Tensor Data Types" and its binary tensor data extension; numbers are little-endian.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlflow_ext.errors import InvalidInputError

Array = NDArray[Any]

BYTES, BF16 = "BYTES", "BF16"
DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(code)
    for name, code in {
        "BOOL": "?",
        "UINT8": "u1",
        "UINT16": "<u2",
        "UINT32": "<u4",
        "UINT64": "<u8",
        "INT8": "i1",
        "INT16": "<i2",
        "INT32": "<i4",
        "INT64": "<i8",
        "FP16": "<f2",
        "FP32": "<f4",
        "FP64": "<f8",
        # NumPy has no type for it: it is kept as float32, which holds every value of it
        BF16: "<f4",
        BYTES: "O",
    }.items()
}
"""NumPy's type for each datatype; elements of BYTES are `bytes`."""
MAX_RANK = 32
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A named tensor.

    Attributes:
        name: Its name.
        datatype: One of `DTYPES`.
        data: Its elements in its shape; of `DTYPES[datatype]`.
        parameters: What the request says about it beside that.
    """

    name: str
    datatype: str
    data: Array
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.data.shape


def from_raw(datatype: str, shape: Sequence[int], raw: bytes | memoryview) -> Array:
    """Read raw bytes.

    Raises:
        InvalidInputError: There are more or fewer of them than the shape asks for.
    """
    count = math.prod(shape)
    if datatype == BYTES:
        return _bytes_from_raw(count, raw).reshape(shape)
    size = raw_item_size(datatype)
    if len(raw) != count * size:
        raise InvalidInputError(f"{len(raw)} bytes of data; {datatype} of shape {list(shape)} has {count * size}")
    if datatype == BF16:
        bits: Array = np.frombuffer(raw, "<u2").astype("<u4") << np.uint32(16)
        return bits.view("<f4").reshape(shape)
    if datatype == "BOOL":
        truths: Array = np.frombuffer(raw, "u1") != 0
        return truths.reshape(shape)
    return np.frombuffer(raw, DTYPES[datatype]).reshape(shape)


def to_raw(datatype: str, data: Array) -> bytes:
    """Write raw bytes."""
    if datatype == BYTES:
        return b"".join(part for item in data.ravel() for part in (_LENGTH.pack(len(item)), item))
    if datatype == BF16:
        return _bf16(data.astype("<f4"))
    return data.astype(DTYPES[datatype], copy=False).tobytes()


def raw_item_size(datatype: str) -> int:
    """Give the bytes of one element of a datatype other than BYTES."""
    return 2 if datatype == BF16 else DTYPES[datatype].itemsize


def _bytes_from_raw(count: int, raw: bytes | memoryview) -> Array:
    # each element takes four bytes at least, so that no shape can ask for more memory than was sent
    if count * _LENGTH.size > len(raw):
        raise InvalidInputError(f"{len(raw)} bytes of data are too few for {count} elements of BYTES")
    items = np.empty(count, dtype=object)
    position, view = 0, memoryview(raw)
    for index in range(count):
        if position + _LENGTH.size > len(view):
            raise InvalidInputError(f"the data of BYTES ends within element {index} of {count}")
        begin = position + _LENGTH.size
        position = begin + _LENGTH.unpack_from(view, position)[0]
        if position > len(view):
            raise InvalidInputError(f"the data of BYTES ends within element {index} of {count}")
        items[index] = bytes(view[begin:position])
    if position != len(view):
        raise InvalidInputError(f"{len(view) - position} bytes of data follow after the {count} elements of BYTES")
    return items


def _bf16(data: Array) -> bytes:
    """Round to the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(data).view("<u4")
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    # rounding up the bits of a NaN could make an infinity of it
    rounded = np.where(np.isnan(data), np.uint32(0x7FC0), rounded)
    return rounded.astype("<u2").tobytes()


def converted(tensor: Tensor, datatype: str) -> Array:
    """Bring a tensor to a datatype that holds all its values.

    A 64-bit integer is no float: MLflow refuses it as well, since large ones would change.
    """
    sent, wanted = tensor.data.dtype, DTYPES[datatype]
    large = sent.kind in "iu" and sent.itemsize == 8 and wanted.kind == "f"
    if tensor.datatype != datatype:
        same_sort = (tensor.datatype == BYTES) == (datatype == BYTES) and (sent.kind == "b") == (wanted.kind == "b")
        if large or not same_sort or not np.can_cast(sent, wanted, "safe"):
            raise InvalidInputError(f"input {tensor.name!r} is {tensor.datatype}; the model takes {datatype}")
    return tensor.data.astype(wanted.newbyteorder("="), copy=False)


def datatype_of_dtype(dtype: np.dtype[Any]) -> str:
    """Give the datatype that holds NumPy values of a type; BYTES (text) where no number type does."""
    little = dtype.newbyteorder("<")
    for name, known in DTYPES.items():
        if name not in {BF16, BYTES} and known == little:
            return name
    return BYTES
