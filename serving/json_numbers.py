"""Many numbers in JSON, straight into one matrix; a request's other parts are read by `plan.py`."""

from collections.abc import Sequence

import numpy as np
import simdjson
from numpy.typing import NDArray

_SPLIT = "dataframe_split"
_BRACKET = ord("[")


def read_matrix(body: bytes, columns: Sequence[str]) -> NDArray[np.float64] | None:
    """Read `{"dataframe_split": {"columns": …, "data": …}}` whose data are numbers only, a row as long as the others.

    Args:
        body: A request's body.
        columns: The names that it must have, in this order.

    Returns:
        Matrix (rows, columns); `None` for any other body, also for one that is no JSON.
    """
    try:
        document = simdjson.Parser().parse(body)
        if not isinstance(document, simdjson.Object) or list(document.keys()) != [_SPLIT]:
            return None
        split = document[_SPLIT]
        # each key once: of two, MLflow would take the last
        if not isinstance(split, simdjson.Object) or sorted(split.keys()) != ["columns", "data"]:
            return None
        names, data = split["columns"], split["data"]
        if not isinstance(names, simdjson.Array) or names.as_list() != list(columns):
            return None
        if not isinstance(data, simdjson.Array) or not len(data):
            return None
        width = len(columns)
        # a flat copy would hide lists inside a row: there are as many brackets as rows, and two more
        brackets = sum(name.count("[") for name in columns) + 2 + len(data)
        if np.count_nonzero(np.frombuffer(body, dtype=np.uint8) == _BRACKET) != brackets:
            return None
        if any(not isinstance(row, simdjson.Array) or len(row) != width for row in data):
            return None
        flat = np.frombuffer(data.as_buffer(of_type="d"), dtype=np.float64)
    # its words for broken JSON, for values that are no numbers, and for numbers that no float can hold
    except (ValueError, TypeError, RuntimeError, UnicodeDecodeError):
        return None
    return flat.reshape(-1, width)
