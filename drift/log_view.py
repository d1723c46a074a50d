"""Logged predictions as one SQL view, `predictions`: any versions and hours, read from segments as needed.

Versions may differ in columns and types. What policy withholds now is withheld, also where it was logged before.
Writing answers to files is `log_export.py`'s business, finding one request `log_lookup.py`'s.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mlflow_ext.domain.drift import Window
from mlflow_ext.domain.privacy import PREFIX
from mlflow_ext.domain.segments import Segment
from mlflow_ext.errors import InvalidInputError, NotFoundError, UnavailableError
from mlflow_ext.policy import PrivacyPolicy
from mlflow_ext.store.segment_files import INPUT, META, NAME, ROLE
from mlflow_ext.store.segment_storage import located
from mlflow_ext.store.segments import Segments

VIEW = "predictions"
BATCH_ROWS = 65_536
_READERS = 8
_TRIES = 3
_OURS = ("version", "request_id", "row", "received_at", "arm", "latency_us", "share")
"""First columns of the view; an input of such a name is called `input.NAME`."""
_ANSWERING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}


class _GoneError(Exception):
    """A segment was merged into another while it was read."""


def read(
    index: Segments, model: str, version: int | None, window: Window, privacy: PrivacyPolicy, sql: str
) -> Iterator[pa.RecordBatch]:
    """Answer a query over the predictions of a window; times are UTC.

    Args:
        index: Where segments are.
        model: Registered model.
        version: Version, or `None` for all.
        window: Which predictions.
        privacy: Columns that are withheld: dropped ones are left out, of hashed ones nothing but hashes is shown.
        sql: A query over the view `predictions`.

    Yields:
        The answer, at least one batch, in parts of at most 65,536 rows.

    Raises:
        NotFoundError: Nothing is logged in the window.
        InvalidInputError: The query is a mistake.
        UnavailableError: Segments or the index cannot be read.
    """
    for attempt in range(_TRIES):
        begun = False
        found = index.find(model, version, window.since, window.until)
        if not found:
            which = model if version is None else f"{model} version {version}"
            raise NotFoundError(f"nothing is logged of {which} in {window}; what just came is there in some seconds")
        try:
            with _connected(found, window, privacy) as connection:
                for batch in _answer(connection, sql):
                    begun = True
                    yield batch
        except _GoneError as exc:
            # the index already names the new file; but what the reader has got cannot be taken back
            if begun or attempt == _TRIES - 1:
                raise UnavailableError(f"segments of {model} were merged while they were read; try again") from exc
        else:
            return


def _answer(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[pa.RecordBatch]:
    try:
        statements = connection.extract_statements(sql)
        relation = connection.sql(sql) if statements and statements[-1].type in _ANSWERING else None
        if relation is None:
            raise InvalidInputError("the statement has no answer; ask with SELECT … FROM predictions")
        reader = relation.to_arrow_reader(BATCH_ROWS)
        empty = True
        for batch in reader:
            empty = False
            yield batch
        if empty:
            yield pa.RecordBatch.from_pylist([], schema=reader.schema)
    except (duckdb.Error, OSError) as exc:
        text = str(exc)
        if "No such file" in text or "Path does not exist" in text or isinstance(exc, FileNotFoundError):
            raise _GoneError(text) from exc
        if isinstance(exc, OSError | duckdb.IOException):
            raise UnavailableError(f"segments cannot be read: {text}") from exc
        raise InvalidInputError(f"the query cannot be answered: {text}") from exc


@contextmanager
def _connected(
    segments: Sequence[Segment], window: Window, privacy: PrivacyPolicy
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a database of the view alone: no files, no network, no settings."""
    connection = duckdb.connect(config={"enable_external_access": "false"})
    try:
        connection.execute("SET python_enable_replacements = false")
        versions: dict[int, list[Segment]] = defaultdict(list)
        for one in segments:
            versions[one.version].append(one)
        parts = []
        for version, mine in sorted(versions.items()):
            for number, dataset in enumerate(_datasets(mine, privacy)):
                connection.register(f"segments_{version}_{number}", dataset)
                columns = _columns(dataset.schema, version)
                parts.append(f"SELECT {columns} FROM segments_{version}_{number} WHERE {_within(window)}")
        connection.execute(f"CREATE VIEW {VIEW} AS {' UNION ALL BY NAME '.join(parts)}")
        connection.execute("SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


def _datasets(segments: Sequence[Segment], privacy: PrivacyPolicy) -> list[ds.Dataset]:
    """Put the files of one version together that have the same columns and types, without what is withheld.

    DuckDB brings those that differ together: what PyArrow casts while it reads, it cannot filter.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        try:
            schemas = list(pool.map(lambda one: _schema(one.uri, privacy), segments))
        except FileNotFoundError as exc:
            raise _GoneError(str(exc)) from exc
        except (OSError, pa.ArrowInvalid) as exc:
            raise UnavailableError(f"segments cannot be read: {exc}") from exc
    alike: dict[tuple[str, pa.Schema], list[str]] = defaultdict(list)
    for one, schema in zip(segments, schemas, strict=True):
        alike[one.uri.partition("://")[0] if "://" in one.uri else "", schema].append(one.uri)
    return [
        ds.FileSystemDataset.from_paths(
            [located(uri)[1] for uri in uris],
            schema=schema,
            format=ds.ParquetFileFormat(),
            filesystem=located(uris[0])[0],
        )
        for (_, schema), uris in alike.items()
    ]


def shown_names(schema: pa.Schema) -> dict[str, tuple[str, str]]:
    """Give each stored column's name in the view, and its own name as policy knows it."""
    names = {}
    for one in schema:
        marks = one.metadata or {}
        own = marks.get(NAME, one.name.encode()).decode()
        shown = one.name
        if marks.get(ROLE) == META:
            shown = "received_at" if shown == "at" else shown
        elif marks.get(ROLE) == INPUT and shown in _OURS:
            shown = f"input.{own}"
        names[one.name] = shown, own
    return names


def _columns(schema: pa.Schema, version: int) -> str:
    chosen = {"version": f"{version}::INTEGER"}
    for stored, (shown, _) in shown_names(schema).items():
        kind = schema.field(stored).type
        # DuckDB knows time zones only by an extension that it would have to fetch
        zoned = pa.types.is_timestamp(kind) and kind.tz is not None
        chosen[shown] = f"{_quoted(stored)}::TIMESTAMP" if zoned else _quoted(stored)
    order = [name for name in _OURS if name in chosen] + [name for name in chosen if name not in _OURS]
    return ", ".join(f"{chosen[name]} AS {_quoted(name)}" for name in order)


def _within(window: Window) -> str:
    return f"\"at\" >= TIMESTAMPTZ '{_utc(window.since)}' AND \"at\" < TIMESTAMPTZ '{_utc(window.until)}'"


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(" ")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _schema(uri: str, privacy: PrivacyPolicy) -> pa.Schema:
    """Read a file's columns, without those that are withheld: dropped ones, and hashed ones with other values."""
    system, path = located(uri)
    with system.open_input_file(path) as file:
        metadata = pq.read_metadata(file)
    schema = metadata.schema.to_arrow_schema()
    names = {stored: own for stored, (_, own) in shown_names(schema).items()}
    ours = {one.name for one in schema if (one.metadata or {}).get(ROLE) == META}
    hidden = {
        stored
        for stored, own in names.items()
        if stored not in ours
        and (own in privacy.drop or (own in privacy.hash and not _holds_hashes_only(metadata, stored)))
    }
    return pa.schema([one for one in schema if one.name not in hidden])


def _holds_hashes_only(metadata: pq.FileMetaData, name: str) -> bool:
    """Tell by the file's statistics: what lies between two texts with a common beginning begins with it, too."""
    at = metadata.schema.to_arrow_schema().get_field_index(name)
    for number in range(metadata.num_row_groups):
        column = metadata.row_group(number).column(at)
        seen = column.statistics
        if seen is None or (not seen.has_min_max and seen.null_count != column.num_values):
            return False
        if seen.has_min_max and not all(str(end).startswith(PREFIX) for end in (seen.min, seen.max)):
            return False
    return True
