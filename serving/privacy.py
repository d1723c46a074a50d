"""Requests and answers rewritten so that personal data does not reach the disk. Which columns these are says policy.

Nothing is copied from a body: a request is parsed, and what is known to be harmless is written anew. What cannot be
parsed with certainty is not written at all. The form it gets is described in `mlflow_ext/domain/privacy.py`, reading it
back is in `mlflow_ext/registry/scoring_protocol.py`.
"""

import base64
import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from mlflow_ext.domain.privacy import REDACTED, KeyedHash
from mlflow_ext.errors import InvalidInputError, InvalidSettingsError, MlflowExtError
from mlflow_ext.policy import PrivacyPolicy
from mlflow_ext.registry.scoring_protocol import ModelColumns, columns_of, parse_table
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

    def __init__(self, policy: PrivacyPolicy, keyed_hash: KeyedHash | None, schema: Any) -> None:
        """Take the columns that are not logged as they are, what hashes, and MLflow's input schema, if any.

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
        self._known = ModelColumns() if schema is None else columns_of(schema)

    @property
    def unknown(self) -> list[str]:
        """Columns that policy names and the signature lacks: a typing mistake here would be a leak."""
        return sorted(self._names - set(self._known.inputs)) if self._known.schema is not None else []

    def rewrite(self, record: PredictionRecord) -> PredictionRecord:
        """Rewrite a request of any format that MLflow's scoring protocol has.

        Raises:
            UncertainError: Its columns are not certain.
        """
        known = self._known
        if known.schema is not None and not known.inputs:
            raise UncertainError("the signature does not name the columns")
        try:
            frame = parse_table(record.content_type, record.request, known)
        except InvalidInputError as exc:
            # the reason may repeat the request
            raise UncertainError("the request cannot be parsed as columns with names") from exc
        given = list(frame.columns)
        if len(set(given)) < len(given) or not all(isinstance(name, str) for name in given):
            raise UncertainError("the columns of the request have no names, or a name twice")
        # a header may be data: without a signature only the named columns say that it is one
        if missing := (self._names if known.schema is None else {*known.schema.required_input_names()}) - {*given}:
            raise UncertainError(f"{len(missing)} of the columns that it should have are not there")
        names = [name for name in given if name not in self._drop and (not known.inputs or name in known.inputs)]
        columns = {name: self._values(name, frame[name].tolist()) for name in names}
        data = list(zip(*columns.values(), strict=True)) if columns else [()] * len(frame)
        request = json.dumps(self._document(names, data)).encode()
        response = _answer(record.response, self._drop, self._hash)
        return replace(record, content_type=REDACTED, request=request, response=response)

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

    def _values(self, name: str, values: Sequence[Any]) -> list[Any]:
        if name in self._hash:
            return [self._hash[name](None if value is pd.NA else value) for value in values]
        plain = [_plain(value) for value in values]
        self._refuse_nested(plain)
        return plain

    def _refuse_nested(self, values: Collection[Any]) -> None:
        """Refuse objects that hold a column's name inside."""
        for value in values:
            if isinstance(value, dict):
                if not self._names.isdisjoint(value):
                    raise UncertainError("a column that policy names is inside of another one")
                self._refuse_nested(value.values())
            elif isinstance(value, list):
                self._refuse_nested(value)


def _answer(body: bytes, drop: Collection[str], hashes: dict[str, Callable[[Any], str | None]]) -> bytes:
    """Write an answer anew, with columns of the same names dropped or hashed wherever they are in it."""

    def cleaned(value: Any) -> Any:
        if isinstance(value, list):
            return [cleaned(one) for one in value]
        if not isinstance(value, dict):
            return value
        return {
            name: _hashed(hashes[name], one) if name in hashes else cleaned(one)
            for name, one in value.items()
            if name not in drop
        }

    try:
        document = json.loads(body)
        if not isinstance(document, dict) or "predictions" not in document:
            raise UncertainError("the answer is not of MLflow's scoring protocol")
        return json.dumps({"predictions": cleaned(document["predictions"])}).encode()
    except (ValueError, RecursionError) as exc:
        raise UncertainError("the answer cannot be parsed") from exc


def _hashed(hashed: Callable[[Any], str | None], value: Any) -> Any:
    return [hashed(one) for one in value] if isinstance(value, list) else hashed(value)


def _plain(value: Any) -> Any:
    """Bring a value into what JSON has, as MLflow's protocol writes it."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    match value:
        case str() | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return base64.b64encode(value).decode()
        case list() | tuple():
            return [_plain(one) for one in value]
        case dict():
            return {str(name): _plain(one) for name, one in value.items()}
        case datetime():
            # pandas' times know nanoseconds
            return None if pd.isna(value) else value.isoformat()
    if value is None or value is pd.NA:
        return None
    raise UncertainError(f"a column holds values of type {type(value).__name__}")
