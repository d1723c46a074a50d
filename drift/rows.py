"""Logged predictions as typed rows: one Arrow table, each column marked as ours, an input or an output.

Reading spool files is `compactor.py`'s business, writing Parquet `segment_files.py`'s.
"""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from mlflow_ext.errors import InvalidInputError
from mlflow_ext.registry.scoring_protocol import (
    ModelColumns,
    ParsedRequests,
    answer_frame,
    parse_answer,
    parse_requests,
)
from mlflow_ext.spool import PredictionRecord
from mlflow_ext.store.segment_files import INPUT, META, NAME, OUTPUT, ROLE

AT = pa.timestamp("us", tz="UTC")
_TYPES = {
    "boolean": pa.bool_(),
    "integer": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "datetime": pa.timestamp("us"),
}
_META = {
    "request_id": pa.string(),
    "row": pa.int32(),
    "at": AT,
    "arm": pa.string(),
    "latency_us": pa.int64(),
    "share": pa.float64(),
}


def typed_rows(
    records: Sequence[PredictionRecord], columns: ModelColumns
) -> tuple[list[pa.Table], list[tuple[PredictionRecord, str]]]:
    """Turn the records of one model version into tables.

    Args:
        records: What one version answered.
        columns: Its signature.

    Returns:
        Tables with one row a prediction, in the order of the records; and the records that cannot be understood, each
        with the reason.
    """
    parsed, failures = parse_requests([(record.content_type, record.request) for record in records], columns)
    refused = [(records[position], reason) for position, reason in failures.items()]
    tables: list[pa.Table] = []
    for batch in parsed:
        try:
            tables.append(_table(records, batch, columns))
        except (InvalidInputError, pa.ArrowException, ValueError, TypeError) as exc:
            if len(batch.positions) == 1:
                refused.append((records[batch.positions[0]], str(exc)[:300]))
                continue
            # one record of many does not fit: take them one by one
            for position in batch.positions:
                some, others = typed_rows([records[position]], columns)
                tables += some
                refused += others
    return tables, refused


def merged(tables: Sequence[pa.Table]) -> pa.Table:
    """Put tables of one model version into one; a column whose types do not go together becomes text."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        kinds: dict[str, set[pa.DataType]] = {}
        for table in tables:
            for one in table.schema:
                kinds.setdefault(one.name, set()).add(one.type)
        mixed = {name for name, types in kinds.items() if len(types - {pa.null()}) > 1}
        return pa.concat_tables([_as_text(table, mixed) for table in tables], promote_options="permissive")


def _table(records: Sequence[PredictionRecord], batch: ParsedRequests, columns: ModelColumns) -> pa.Table:
    mine = [records[position] for position in batch.positions]
    outputs = _outputs(mine, batch.rows)
    counts = pd.Series(batch.rows)
    frame = batch.frame.reset_index(drop=True)
    meta = pd.DataFrame(
        {
            "request_id": [record.request_id for record in mine],
            "at": [record.at for record in mine],
            "arm": [record.arm for record in mine],
            "latency_us": [record.latency_us for record in mine],
            "share": [record.share for record in mine],
        }
    )
    meta = meta.loc[meta.index.repeat(counts)].reset_index(drop=True)
    meta["row"] = [row for count in batch.rows for row in range(count)]
    arrays: list[pa.Array] = []
    fields: list[pa.Field] = []

    def add(stored: str, name: str, role: bytes, array: pa.Array) -> None:
        arrays.append(array)
        fields.append(pa.field(stored, array.type, metadata={ROLE: role, NAME: name.encode()}))

    for name, kind in _META.items():
        add(name, name, META, pa.array(meta[name], kind))
    for name in outputs.columns:
        add(name, name, OUTPUT, _inferred(outputs[name]))
    taken = {*_META, *outputs.columns}
    for name in columns.inputs or [str(name) for name in frame.columns]:
        if name in batch.dropped:
            continue
        stored = f"input.{name}" if name in taken else name
        kind = "string" if name in batch.hashed else columns.inputs.get(name)
        add(stored, name, INPUT, _input(frame, name, kind))
    return pa.table(arrays, schema=pa.schema(fields))


def _outputs(records: Sequence[PredictionRecord], rows: Sequence[int]) -> pd.DataFrame:
    answers: list[Any] = []
    for record, count in zip(records, rows, strict=True):
        try:
            predictions = json.loads(record.response)["predictions"]
        except (ValueError, KeyError, TypeError) as exc:
            raise InvalidInputError("the answer holds no predictions") from exc
        if not isinstance(predictions, list):
            predictions = parse_answer(record.response).to_dict("records")
        if len(predictions) != count:
            raise InvalidInputError(f"{count} rows were asked, {len(predictions)} answered")
        answers.extend(predictions)
    return answer_frame(answers)


def _input(frame: pd.DataFrame, name: str, kind: str | None) -> pa.Array:
    if name not in frame.columns:
        # columns of a request without names come as numbers
        if not name.isdigit() or int(name) not in frame.columns:
            return pa.nulls(len(frame), _TYPES.get(kind or "", pa.null()))
        return _inferred(frame[int(name)])
    if kind in _TYPES:
        return pa.array(frame[name], _TYPES[kind], from_pandas=True)
    return _inferred(frame[name])


def _inferred(column: "pd.Series[Any]") -> pa.Array:
    """Give a column the type its values have; lists and objects become JSON text."""
    values = column.infer_objects()
    if (
        values.dtype == object
        and values.map(lambda value: isinstance(value, list | dict | tuple) or _array(value)).any()
    ):
        return pa.array([json.dumps(_plain(value)) for value in values], pa.string())
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return array.cast(pa.string()) if pa.types.is_large_string(array.type) else array


def _array(value: object) -> bool:
    return hasattr(value, "tolist") and getattr(value, "ndim", 0) > 0


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _as_text(table: pa.Table, names: set[str]) -> pa.Table:
    for index, one in enumerate(table.schema):
        if one.name in names:
            text = pa.field(one.name, pa.string(), metadata=one.metadata)
            table = table.set_column(index, text, table.column(index).cast(pa.string()))
    return table
