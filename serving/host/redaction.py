"""Requests and answers of any format rewritten so that personal data does not reach the disk.

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
from typing import Any

import numpy as np
import pandas as pd

from mlflow_ext.domain.privacy import REDACTED, KeyedHash
from mlflow_ext.errors import InvalidInputError
from mlflow_ext.policy import PrivacyPolicy
from mlflow_ext.registry.scoring_protocol import ModelColumns, columns_of, parse_table
from serving.codecs.answer import Logged
from serving.privacy import Redactor, UncertainError


class FormatRedactor(Redactor):
    """Rewrites the predictions of one model version, whatever format they came in."""

    def __init__(self, policy: PrivacyPolicy, keyed_hash: KeyedHash | None, schema: Any) -> None:
        """Take the columns that are not logged as they are, what hashes, and MLflow's input schema, if any.

        Raises:
            InvalidSettingsError: Columns are to be hashed and there is no secret.
        """
        super().__init__(policy, keyed_hash)
        self._known = ModelColumns() if schema is None else columns_of(schema)

    def rewrite(self, kept: Logged) -> Logged:
        """Rewrite a request of any format that MLflow's scoring protocol has.

        Raises:
            UncertainError: Its columns are not certain.
        """
        known = self._known
        if known.schema is not None and not known.inputs:
            raise UncertainError("the signature does not name the columns")
        try:
            frame = parse_table(kept.content_type, kept.request, known)
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
        response = _answer(kept.response, self._drop, self._hash)
        return replace(kept, content_type=REDACTED, request=request, response=response, redacted=True)

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
