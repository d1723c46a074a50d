"""Depth and rows of one request."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlflow_ext.errors import InvalidInputError
from serving.bounds import Bounds, depth_of, rows_of
from serving.compression import TooLargeError

_TEXTS = st.text(st.sampled_from('[]{}"\\,: aé\n'), max_size=8)
_DOCUMENTS = st.recursive(
    st.none() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=20,
)


def real_depth(value: Any) -> int:
    """Count levels of what was parsed."""
    if isinstance(value, dict):
        return 1 + max(map(real_depth, value.values()), default=0)
    return 1 + max(map(real_depth, value), default=0) if isinstance(value, list) else 0


@given(_DOCUMENTS, st.booleans())
@example('"\\', False)
@settings(max_examples=500, deadline=None)
def test_depth_is_that_of_the_parsed_document(document: Any, ascii_only: bool) -> None:
    """Whatever brackets, quotes and escapes strings hold, depth is counted as a parser would."""
    assert depth_of(json.dumps(document, ensure_ascii=ascii_only).encode()) == real_depth(document)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_have_a_depth(text: bytes) -> None:
    """Bytes that are no JSON are counted without failing."""
    assert 0 <= depth_of(text) <= len(text)


def test_depth_bound() -> None:
    """The bound itself is allowed, one more is not; many shallow lists are."""
    bounds = Bounds(max_json_depth=4)
    bounds.check_json(b"[[[[1]]]]")
    bounds.check_json(json.dumps([[[[1], {}]]] * 50).encode())
    with pytest.raises(InvalidInputError, match="max_json_depth"):
        bounds.check_json(b"[[[[[1]]]]]")


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (pd.DataFrame({"a": [1, 2, 3]}), 3),
        (np.zeros((4, 2)), 4),
        (np.float64(1.0), 1),
        ([1, 2], 2),
        ({"x": np.zeros((4, 2)), "y": [1]}, 4),
        ({}, 0),
        ("text", 1),
    ],
)
def test_rows(data: Any, rows: int) -> None:
    """Rows are counted in every form that a model may get."""
    assert rows_of(data) == rows
    Bounds(max_rows=rows or 1).check_rows(rows)
    with pytest.raises(TooLargeError, match="max_rows"):
        Bounds(max_rows=rows).check_rows(rows + 1)
