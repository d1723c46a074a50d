"""Reading many numbers at once."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.json_numbers import read_matrix

NAMES = ("a", "b[", 'c"')
_numbers = st.floats(allow_nan=False, allow_infinity=False)


def body(data: Any, columns: Any = NAMES) -> bytes:
    """Write a request."""
    return json.dumps({"dataframe_split": {"columns": columns, "data": data}}).encode()


@given(st.lists(st.tuples(_numbers, _numbers, _numbers), min_size=1, max_size=20))
def test_every_bit_of_a_number(rows: list[tuple[float, ...]]) -> None:
    """Numbers are read as Python's JSON reader reads them, to the last bit."""
    read = read_matrix(body(rows), NAMES)
    assert read is not None
    assert read.tobytes() == np.array(rows, dtype=np.float64).tobytes()


_leaves = st.one_of(st.none(), st.booleans(), _numbers, st.text(max_size=2), st.lists(_numbers, max_size=3))


@given(st.lists(st.lists(_leaves, min_size=2, max_size=4), max_size=4))
def test_anything_else_is_left_to_others(rows: list[list[Any]]) -> None:
    """Rows of other lengths and values that are no numbers give nothing."""
    right = bool(rows) and all(len(row) == 3 and all(type(one) is float for one in row) for row in rows)
    assert (read_matrix(body(rows), NAMES) is not None) == right


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"1",
        b"{}",
        b'{"dataframe_split": []}',
        b'{"dataframe_split": {"columns": ["a"]}}',
        b'{"dataframe_split": {"columns": "a", "data": [[1.0]]}}',
        b'{"dataframe_split": {"columns": ["a"], "data": {"0": [1.0]}}}',
        b'{"dataframe_split": {"columns": ["a"], "data": [[1.0]], "index": [0]}}',
        b'{"dataframe_split": {"columns": ["a"], "data": [[2.0]], "data": [[1.0]]}}',
        b'{"dataframe_split": {"columns": ["b"], "data": [[1.0]]}}',
        b'{"dataframe_split": {"columns": ["a"], "data": [[1.0]]}, "params": {}}',
        b'{"dataframe_split": {"columns": ["a"], "data": [[[1.0]]]}}',
        b'{"dataframe_split": {"columns": ["a"], "data": [[1e400]]}}',
        b'{"dataframe_split": {"columns": ["a"], "data": [[NaN]]}}',
        b'{"dataframe_split": {"columns": ["a"], "data": [1.0]}}',
        b'{"dataframe_split": {"columns": ["a"], "data": [[1.0]]}} x',
    ],
)
def test_other_bodies(wrong: bytes) -> None:
    """Bodies of any other shape give nothing, whatever is wrong with them."""
    assert read_matrix(wrong, ("a",)) is None
