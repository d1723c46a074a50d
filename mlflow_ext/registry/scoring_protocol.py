"""MLflow's scoring protocol, read back: logged requests and answers become columns, by MLflow's own parser.

Answering requests is `serving/`'s business; what the columns are compared with is `drift/`'s.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import get_model_info
from mlflow.pyfunc.scoring_server import infer_and_parse_data, parse_csv_input, parse_parquet_input
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.types.schema import DataType

from mlflow_ext.domain.privacy import REDACTED
from mlflow_ext.errors import InvalidInputError, NotFoundError
from mlflow_ext.registry.client import translated

OTHER = "other"
"""Type of a column that holds lists, objects or tensors."""


@dataclass(frozen=True, slots=True)
class ModelColumns:
    """What a model version's signature says.

    Attributes:
        inputs: MLflow type name (`double`, `long`, `string` … or `other`) by input name; empty without a signature.
        schema: MLflow's schema of the inputs, for its parser.
    """

    inputs: Mapping[str, str] = field(default_factory=dict)
    schema: Any = None


@dataclass(frozen=True, slots=True)
class ParsedRequests:
    """Requests that were parsed together.

    Attributes:
        positions: Which of the given requests, in the order of their rows.
        rows: Number of rows of each.
        frame: All their rows, one below the other.
        dropped: Columns that were left out before logging.
        hashed: Columns of keyed hashes.
    """

    positions: list[int]
    rows: list[int]
    frame: pd.DataFrame
    dropped: frozenset[str] = frozenset()
    hashed: frozenset[str] = frozenset()


class _Table(NamedTuple):
    """What a plain JSON table has besides its rows."""

    names: tuple[str, ...]
    dropped: frozenset[str] = frozenset()
    hashed: frozenset[str] = frozenset()


def model_columns(client: MlflowClient, model: str, version: int) -> ModelColumns:
    """Read the signature of a model version; an unknown version, or one without a signature, says nothing.

    Raises:
        UnavailableError: MLflow does not answer.
    """
    try:
        with translated():
            uri = f"models:/{model}/{client.get_model_version(model, str(version)).version}"
            signature = get_model_info(uri).signature
    except NotFoundError:
        return ModelColumns()
    if signature is None or signature.inputs is None:
        return ModelColumns()
    return columns_of(signature.inputs)


def columns_of(schema: Schema) -> ModelColumns:
    """Describe the inputs of a schema; those without names get none."""
    named = {spec.name: _type_name(spec) for spec in schema.inputs if spec.name is not None}
    return ModelColumns(inputs=named, schema=schema)


def parse_requests(
    requests: Sequence[tuple[str, bytes]], columns: ModelColumns
) -> tuple[list[ParsedRequests], dict[int, str]]:
    """Parse request bodies as MLflow's scoring server does.

    Tables with the same columns are parsed in one go, which is some hundred times cheaper for requests of one row.

    Args:
        requests: Content type and body of each.
        columns: Signature of the version that answered them.

    Returns:
        The parsed ones, and by position the reason why a request cannot be parsed.
    """
    together: dict[_Table, list[tuple[int, list[list[Any]]]]] = defaultdict(list)
    alone: list[int] = []
    for position, (content_type, body) in enumerate(requests):
        table = _as_table(content_type, body)
        if table is None:
            alone.append(position)
        else:
            together[table[0]].append((position, table[1]))
    parsed: list[ParsedRequests] = []
    for alike, tables in together.items():
        try:
            parsed.append(_parse_together(alike, tables, columns))
        except (MlflowException, ValueError, TypeError):
            # one bad request must not take the others with it
            alone.extend(position for position, _ in tables)
    failures: dict[int, str] = {}
    for position in sorted(alone):
        try:
            parsed.append(_parse_alone(position, requests[position], columns))
        except InvalidInputError as exc:
            failures[position] = str(exc)
    return _joined(parsed), failures


def parse_request(content_type: str, body: bytes, columns: ModelColumns) -> pd.DataFrame:
    """Parse one request body.

    Raises:
        InvalidInputError: It is not of MLflow's scoring protocol, or does not fit the signature.
    """
    with _translated_mistakes():
        return _frame(_parsed(content_type, body, columns), columns)


def parse_table(content_type: str, body: bytes, columns: ModelColumns) -> pd.DataFrame:
    """Parse one request body that names its columns itself; none gets a name by its position.

    Raises:
        InvalidInputError: As `parse_request`, or values come without names.
    """
    with _translated_mistakes():
        data = _parsed(content_type, body, columns)
        if not isinstance(data, pd.DataFrame | dict):
            raise InvalidInputError("the request does not name its columns")
        return _frame(data, columns)


def parse_answer(body: bytes) -> pd.DataFrame:
    """Read an answer's predictions: one column `prediction`, or `prediction_<name or number>` for several.

    Raises:
        InvalidInputError: There are no predictions in it.
    """
    try:
        predictions = json.loads(body)["predictions"]
    except (ValueError, KeyError, TypeError) as exc:
        raise InvalidInputError("the answer holds no predictions") from exc
    return answer_frame(predictions)


def answer_frame(predictions: Any) -> pd.DataFrame:
    """Turn the value of `predictions` into columns, one row a prediction.

    Raises:
        InvalidInputError: It is neither a list nor an object of lists.
    """
    if isinstance(predictions, list) and predictions and all(isinstance(one, dict) for one in predictions):
        frame = pd.DataFrame(predictions)
    elif isinstance(predictions, list):
        nested = bool(predictions) and all(isinstance(one, list) for one in predictions)
        same = nested and len({len(one) for one in predictions}) == 1
        frame = pd.DataFrame(predictions) if same else pd.DataFrame({0: pd.Series(predictions, dtype=object)})
    elif isinstance(predictions, dict) and all(isinstance(column, list) for column in predictions.values()):
        frame = pd.DataFrame(predictions)
    else:
        raise InvalidInputError("the predictions are neither a list nor an object of lists")
    names = ["prediction"] if frame.shape[1] == 1 else [f"prediction_{name}" for name in frame.columns]
    return frame.set_axis(names, axis=1).infer_objects()


def _joined(parsed: Sequence[ParsedRequests]) -> list[ParsedRequests]:
    """Put requests with the same columns and types below each other: one table costs less than many."""
    alike: dict[tuple[Any, ...], list[ParsedRequests]] = defaultdict(list)
    for one in parsed:
        types = tuple((str(name), str(kind)) for name, kind in one.frame.dtypes.items())
        alike[one.dropped, one.hashed, types].append(one)
    return [
        ParsedRequests(
            [position for one in some for position in one.positions],
            [count for one in some for count in one.rows],
            pd.concat([one.frame for one in some], ignore_index=True) if len(some) > 1 else some[0].frame,
            *(some[0].dropped, some[0].hashed),
        )
        for some in alike.values()
    ]


@contextmanager
def _translated_mistakes() -> Iterator[None]:
    try:
        yield
    except (MlflowException, ValueError, TypeError, KeyError) as exc:
        raise InvalidInputError(f"the request cannot be parsed: {str(exc)[:300]}") from exc


def _parsed(content_type: str, body: bytes, columns: ModelColumns) -> Any:
    """Give what MLflow's parser gives: data frame, array, dict of arrays, list."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/csv":
        return parse_csv_input(StringIO(body.decode()), columns.schema)
    if kind == "application/vnd.apache.parquet":
        return parse_parquet_input(BytesIO(body))
    if kind != "application/json":
        raise InvalidInputError(f"content type {content_type[:100]!r} is not of the scoring protocol")
    document = json.loads(body)
    if not isinstance(document, dict):
        raise InvalidInputError("the request is not a JSON object")
    return infer_and_parse_data(document, columns.schema)


def _parse_together(
    table: _Table, some: Sequence[tuple[int, list[list[Any]]]], columns: ModelColumns
) -> ParsedRequests:
    document = {"dataframe_split": {"columns": list(table.names), "data": [row for _, data in some for row in data]}}
    schema = columns.schema
    if schema is not None and (table.dropped or table.hashed):
        # a keyed hash is text, whatever the signature says of the column
        gone = table.dropped | table.hashed
        schema = (
            Schema([spec for spec in schema.inputs if spec.name not in gone]) if set(columns.inputs) - gone else None
        )
    frame = _frame(infer_and_parse_data(document, schema), columns)
    positions, rows = [position for position, _ in some], [len(data) for _, data in some]
    return ParsedRequests(positions, rows, frame, table.dropped, table.hashed)


def _parse_alone(position: int, request: tuple[str, bytes], columns: ModelColumns) -> ParsedRequests:
    if request[0] == REDACTED and (found := _as_table(*request)) is not None:
        with _translated_mistakes():
            return _parse_together(found[0], [(position, found[1])], columns)
    frame = parse_request(*request, columns)
    return ParsedRequests([position], [len(frame)], frame)


def _as_table(content_type: str, body: bytes) -> tuple[_Table, list[list[Any]]] | None:
    """Give columns and rows of a plain JSON table; `None` for whatever is better left to MLflow alone."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in {"application/json", REDACTED}:
        return None
    try:
        document = json.loads(body)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    if kind == REDACTED:
        split = document["dataframe_split"]
        table = _Table(tuple(split["columns"]), frozenset(document["dropped"]), frozenset(document["hashed"]))
        return table, split["data"]
    match [value for key, value in document.items() if key != "params"]:
        case [{"columns": list(names), "data": list(rows), **other}] if "dataframe_split" in document:
            fits = not set(other) - {"index"} and all(isinstance(row, list) and len(row) == len(names) for row in rows)
            plain = fits and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
            return (_Table(tuple(names)), rows) if plain else None
        case [[dict(first), *_] as records] if "dataframe_records" in document:
            names = list(first)
            same = all(isinstance(record, dict) and record.keys() == first.keys() for record in records)
            return (_Table(tuple(names)), [[record[name] for name in names] for record in records]) if same else None
    return None


def _frame(data: Any, columns: ModelColumns) -> pd.DataFrame:
    """Bring what MLflow's parser gives (data frame, array, dict of arrays, list) into a data frame."""
    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, dict):
        return pd.DataFrame({name: _listed(np.asarray(value)) for name, value in data.items()})
    if isinstance(data, list):
        return pd.DataFrame(data)
    array = np.asarray(data)
    names = list(columns.inputs)
    if array.ndim == 2:
        fits = len(names) == array.shape[1]
        return pd.DataFrame(array, columns=names if fits else [str(number) for number in range(array.shape[1])])
    return pd.DataFrame({names[0] if len(names) == 1 else "0": _listed(np.atleast_1d(array))})


def _listed(array: np.ndarray[Any, Any]) -> Any:
    return array if array.ndim == 1 else list(array)


def _type_name(spec: ColSpec | TensorSpec) -> str:
    if isinstance(spec, ColSpec):
        return spec.type.name if isinstance(spec.type, DataType) else OTHER
    if tuple(spec.shape) != (-1,):
        return OTHER
    kinds = {"b": "boolean", "i": "long", "u": "long", "f": "double", "U": "string", "O": "string"}
    return kinds.get(spec.type.kind, OTHER)
