"""Answers about logged predictions written to a file: Parquet, CSV or JSON lines; whole or not at all.

What is answered says `log_view.py`.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from mlflow_ext.errors import InvalidInputError, UnavailableError

FORMATS = ("parquet", "csv", "jsonl")


def format_of(path: Path, asked: str | None) -> str:
    """Give the format that was asked for, or the one that the file's name says.

    Raises:
        InvalidInputError: Neither says any.
    """
    found = asked or {"parquet": "parquet", "csv": "csv", "jsonl": "jsonl", "ndjson": "jsonl"}.get(path.suffix[1:])
    if found is None:
        raise InvalidInputError(f"{path.name} names no format; end it in .parquet, .csv or .jsonl, or give --format")
    return found


def export(batches: Iterator[pa.RecordBatch], path: Path, kind: str) -> int:
    """Write an answer to a file that only its owner may read, and give the number of rows.

    Raises:
        UnavailableError: The file cannot be written.
    """
    first = next(batches)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    rows = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file, _WRITERS[kind](file, first.schema) as write:
            for batch in chain([first], batches):
                write(batch)
                rows += batch.num_rows
        partial.replace(path)
    except OSError as exc:
        raise UnavailableError(f"{path} cannot be written: {exc}") from exc
    finally:
        partial.unlink(missing_ok=True)
    return rows


_Write = Callable[[pa.RecordBatch], None]


@contextmanager
def _parquet(file: BinaryIO, schema: pa.Schema) -> Iterator[_Write]:
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield writer.write_batch


@contextmanager
def _csv(file: BinaryIO, schema: pa.Schema) -> Iterator[_Write]:
    # CSV has no lists and structures: they become JSON
    nested = [index for index, one in enumerate(schema) if pa.types.is_nested(one.type)]
    plain = schema
    for index in nested:
        plain = plain.set(index, pa.field(schema[index].name, pa.string()))
    with pc.CSVWriter(file, plain) as writer:

        def write(batch: pa.RecordBatch) -> None:
            arrays = list(batch.columns)
            for index in nested:
                arrays[index] = pa.array([_json(value) for value in arrays[index].to_pylist()], pa.string())
            writer.write_batch(pa.record_batch(arrays, schema=plain))

        yield write


@contextmanager
def _jsonl(file: BinaryIO, schema: pa.Schema) -> Iterator[_Write]:
    def write(batch: pa.RecordBatch) -> None:
        file.writelines(as_json(row).encode() + b"\n" for row in batch.to_pylist())

    yield write


_WRITERS = {"parquet": _parquet, "csv": _csv, "jsonl": _jsonl}


def as_json(value: Any, indent: int | None = None) -> str:
    """Write JSON: times in ISO 8601 with `Z`, bytes in hexadecimal digits, NaN and infinity as null."""
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _json(value: Any) -> str | None:
    return None if value is None else as_json(value)


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {str(key): _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case float():
            return value if value - value == 0 else None
        case bytes():
            return value.hex()
        case None | bool() | int() | str():
            return value
    if hasattr(value, "isoformat"):
        moment = value.isoformat()
        return moment.replace("+00:00", "Z") if "+" in moment else f"{moment}Z" if "T" in moment else moment
    return str(value)
