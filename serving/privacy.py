"""Logged requests rewritten so that personal data does not reach the disk. Which columns these are says policy.

Here are the requests that a plan has read; those of any other format are rewritten in the model host, where MLflow's
parsers are (`host/redaction.py`). The form they get is described in `mlflow_ext/domain/privacy.py`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlflow_ext.domain.privacy import REDACTED, KeyedHash
from mlflow_ext.errors import InvalidSettingsError, MlflowExtError
from mlflow_ext.policy import PrivacyPolicy
from mlflow_ext.spool import PredictionRecord
from serving.kernels import Rows


class UncertainError(MlflowExtError):
    """It is not certain where in the request or its answer personal data is. The message holds no value of it."""


_NO_DATA = b'"data": []'
"""How a document without rows looks where they would be; no name comes before it."""


class _Recipe(NamedTuple):
    """How rows with certain columns are written, decided once."""

    row: Callable[[Sequence[Any]], list[Any]]
    begin: bytes
    end: bytes


class Redactor:
    """Rewrites the predictions of one model version."""

    def __init__(self, policy: PrivacyPolicy, keyed_hash: KeyedHash | None) -> None:
        """Take the columns that are not logged as they are, and what hashes.

        Raises:
            InvalidSettingsError: Columns are to be hashed and there is no secret.
        """
        if policy.hash and keyed_hash is None:
            raise InvalidSettingsError("privacy.hash needs the setting privacy_key")
        self._drop = frozenset(policy.drop)
        self._hash = {name: keyed_hash.of(name) for name in policy.hash} if keyed_hash is not None else {}
        self._names = policy.names
        self._dropped = sorted(self._drop)
        self._recipes: dict[tuple[str, ...], _Recipe] = {}

    def unknown(self, inputs: Sequence[str] | None) -> list[str]:
        """Columns that policy names and the signature lacks: a typing mistake here would be a leak."""
        return sorted(self._names - {*inputs}) if inputs is not None else []

    def rewrite_rows(self, record: PredictionRecord, columns: tuple[str, ...], rows: Rows) -> PredictionRecord:
        """Rewrite a request that a plan has read; its answer is one plain value a row."""
        recipe = self._recipes.get(columns) or self._recipe(columns)
        table = rows.tolist() if isinstance(rows, np.ndarray) else rows
        data = msgspec.json.encode([recipe.row(one) for one in table])
        request = b"".join([recipe.begin, data, recipe.end])
        return replace(record, content_type=REDACTED, request=request)

    def _recipe(self, columns: tuple[str, ...]) -> "_Recipe":
        places = [place for place, name in enumerate(columns) if name not in self._drop]
        kept = [columns[place] for place in places]
        hashes = [(place, self._hash[name]) for place, name in enumerate(kept) if name in self._hash]

        def row(values: Sequence[Any]) -> list[Any]:
            chosen = [values[place] for place in places]
            for place, hashed in hashes:
                chosen[place] = hashed(chosen[place])
            return chosen

        text = json.dumps(self._document(kept, [])).encode()
        begin, _, end = text.partition(_NO_DATA)
        found = self._recipes[columns] = _Recipe(row, begin + _NO_DATA[:-2], end)
        return found

    def _document(self, kept: list[str], data: Sequence[Sequence[Any]]) -> dict[str, Any]:
        return {
            "dataframe_split": {"data": data, "columns": kept},
            "dropped": self._dropped,
            "hashed": [name for name in kept if name in self._hash],
        }
