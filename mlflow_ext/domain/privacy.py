"""Keyed hashes in place of personal data, and the form in which a request without such data is logged.

Which columns are dropped or hashed is policy (`mlflow_ext/policy.py`); who rewrites requests: `serving/privacy.py`.
"""

import hmac
import json
import math
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

REDACTED = "application/vnd.mlflow-ext.redacted+json"
"""Content type of a logged request that was rewritten: `dataframe_split` of what may be kept, `dropped`, `hashed`."""
PREFIX = "hmac:"
"""Begins every keyed hash, so that a column of hashes is known for one and never taken for numbers."""
_HEX_CHARACTERS = 32


class KeyedHash:
    """HMAC-SHA-256 of column and value, cut to 128 bits.

    Equal values of one column give equal hashes, also in other models' logs; equal values of different columns do not.
    """

    def __init__(self, key: bytes) -> None:
        """Take the secret."""
        self._key = key

    def __repr__(self) -> str:
        """Tell nothing of the secret."""
        return "KeyedHash(***)"

    def of(self, column: str) -> Callable[[Any], str | None]:
        """Give what hashes the values of one column; missing values stay missing."""
        key, begin = self._key, column.encode("utf-8", "surrogateescape") + b"\x00"

        def hashed(value: Any) -> str | None:
            text = canonical(value)
            if text is None:
                return None
            digest = hmac.digest(key, begin + text.encode("utf-8", "surrogatepass"), "sha256")
            return PREFIX + digest.hex()[:_HEX_CHARACTERS]

        return hashed


def is_hash(value: Any) -> bool:
    """Tell whether a value is a keyed hash."""
    return isinstance(value, str) and value.startswith(PREFIX) and len(value) == len(PREFIX) + _HEX_CHARACTERS


def canonical(value: Any) -> str | None:
    """Write a value so that equal values give equal texts, whatever types they came in; `None` for a missing one.

    1, 1.0 and "1" are one text, as are true and "true".
    """
    # NumPy's and pandas' scalars, and arrays
    value = value.tolist() if hasattr(value, "tolist") else value
    match value:
        case None:
            return None
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            if math.isnan(value):
                return None
            return str(int(value)) if value.is_integer() else repr(value)
        case bytes():
            return value.hex()
        case datetime() | date():
            # NaT calls itself a datetime, and is unequal to itself
            return value.isoformat() if value == value else None
    return json.dumps(value, sort_keys=True, default=str)
