"""Tensors as raw bytes and as JSON: what goes out comes back, for each datatype; anything else is refused."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlflow_ext.errors import InvalidInputError
from serving.openinference.json_data import from_json, to_json
from serving.openinference.tensors import BF16, BYTES, DTYPES, from_raw, raw_item_size, to_raw

_SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, Any]:
    """Make a datatype and data of it."""
    datatype = draw(st.sampled_from(sorted(DTYPES)))
    shape = draw(_SHAPES)
    if datatype == BYTES:
        data = np.empty(int(np.prod(shape)), dtype=object)
        for index in range(data.size):
            data[index] = draw(st.binary(max_size=8))
        return datatype, data.reshape(shape)
    data = draw(hnp.arrays(DTYPES[datatype], shape))
    if datatype == BF16:
        # what bfloat16 holds: the lower half of a float32's bits is zero
        data = (data.view("<u4") & np.uint32(0xFFFF0000)).view("<f4")
    return datatype, data


def same(one: Any, other: Any) -> bool:
    """Compare shape, type and elements; NaN is NaN."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype == object:
        return bool((one == other).all())
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


@given(tensors())
@settings(max_examples=300, deadline=None)
def test_raw_bytes_round_trip(tensor: tuple[str, Any]) -> None:
    """Raw bytes give back the tensor that they were made of."""
    datatype, data = tensor
    raw = to_raw(datatype, data)
    if datatype != BYTES:
        assert len(raw) == data.size * raw_item_size(datatype)
    assert same(from_raw(datatype, data.shape, raw), data)


@given(tensors(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_json_round_trip(tensor: tuple[str, Any], nested: bool) -> None:
    """JSON, flat or nested, gives back the tensor that it was made of; infinities come back as NaN."""
    datatype, data = tensor
    flat, parameters = to_json(datatype, data)
    listed = flat
    # lists nested around nothing do not say their shape
    if nested and data.size and datatype != BYTES and None not in flat:
        listed = data.tolist()
    text = json.dumps(listed, allow_nan=False)
    back = from_json(datatype, data.shape, json.loads(text), parameters)
    expected = np.where(np.isinf(data), np.nan, data).astype(data.dtype) if data.dtype.kind == "f" else data
    assert same(back, expected)


@given(st.binary(max_size=64), st.sampled_from(sorted(DTYPES)), _SHAPES)
@settings(max_examples=300, deadline=None)
def test_any_raw_bytes_are_read_or_refused(raw: bytes, datatype: str, shape: tuple[int, ...]) -> None:
    """Bytes either are exactly such a tensor or are refused."""
    try:
        data = from_raw(datatype, shape, raw)
    except InvalidInputError:
        return
    assert data.shape == shape
    if datatype not in {"BOOL", BF16}:
        assert to_raw(datatype, data) == raw


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=12,
)


@given(_VALUES, st.sampled_from(sorted(DTYPES)), _SHAPES)
@settings(max_examples=500, deadline=None)
def test_any_json_is_read_or_refused(data: Any, datatype: str, shape: tuple[int, ...]) -> None:
    """Any JSON either is such a tensor or is refused, in one way."""
    try:
        read = from_json(datatype, shape, data, {})
    except InvalidInputError:
        return
    assert read.shape == shape
    assert read.dtype == DTYPES[datatype]


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        *[("INT8", [128]), ("INT8", [-129]), ("UINT8", [-1]), ("UINT64", [2**64]), ("INT64", [2**63])],
        *[("INT32", [1.0]), ("INT32", [True]), ("INT32", ["1"]), ("INT32", [None]), ("BOOL", [1]), ("BOOL", ["true"])],
        *[("FP32", [1e39]), ("FP16", [70000]), ("FP64", [10**400]), ("FP64", ["1.0"]), ("FP64", [True])],
        *[("BYTES", [1]), ("BYTES", [None]), ("BYTES", ["\ud800"]), ("FP64", [[1.0], 2.0]), ("FP64", {"0": 1})],
    ],
)
def test_elements_of_another_type_are_refused(datatype: str, data: Any) -> None:
    """An element that the datatype cannot hold is refused, not changed."""
    with pytest.raises(InvalidInputError):
        from_json(datatype, [1], data, {})


def test_base64_where_said() -> None:
    """Bytes that are no text travel in JSON as base64, said in the parameters; elsewhere text is text."""
    data = np.array([b"\xff\x00", b"a"], dtype=object)
    flat, parameters = to_json(BYTES, data)
    assert (flat, parameters) == (["/wA=", "YQ=="], {"content_type": "base64"})
    assert same(from_json(BYTES, [2], flat, parameters), data)
    assert from_json(BYTES, [1], ["YQ=="], {})[0] == b"YQ=="
    with pytest.raises(InvalidInputError):
        from_json(BYTES, [1], ["no base64!"], parameters)


def test_bfloat16_rounds_to_nearest() -> None:
    """Single-precision numbers become the nearest bfloat16, ties to even; NaN stays NaN."""
    data = np.array([1.0, 1.00390625, 1.01171875, np.nan, np.inf, -2.5], dtype=np.float32)
    back = from_raw(BF16, [6], to_raw(BF16, data))
    assert back[:3].tolist() == [1.0, 1.0, 1.015625]
    assert np.isnan(back[3])
    assert back[4:].tolist() == [np.inf, -2.5]


def test_a_length_that_promises_too_much() -> None:
    """A BYTES element that claims more than there is, is refused before anything is made of it."""
    with pytest.raises(InvalidInputError):
        from_raw(BYTES, [1], struct.pack("<I", 2**32 - 1) + b"x")
    with pytest.raises(InvalidInputError):
        from_raw(BYTES, [2**31 - 1, 2**31 - 1], b"")
