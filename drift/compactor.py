"""From the spool to segments: what scoring appended becomes typed Parquet, each acknowledged prediction exactly once.

How rows are typed is `rows.py`, how files are written `segment_files.py`; the spool: `mlflow_ext/spool.py`.

The order makes it safe to be killed anywhere: files first (named after the spool file and offset they begin at, so that
a second try overwrites the first), then index and offset in one transaction, then the spool file goes.
"""

import base64
import fcntl
import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from drift.rows import merged, typed_rows
from drift.segment_files import write_segment
from mlflow_ext.domain.segments import Segment
from mlflow_ext.errors import AlreadyRunningError, ConflictError, InvalidInputError
from mlflow_ext.registry.scoring_protocol import ModelColumns
from mlflow_ext.spool import MAGIC, PredictionRecord, is_finished, read_spool, spool_files
from mlflow_ext.store.request_filter import filter_of
from mlflow_ext.store.segment_files import read_segment
from mlflow_ext.store.segment_storage import remove
from mlflow_ext.store.segments import Segments

_log = logging.getLogger(__name__)

MAX_RECORDS = 20_000
MAX_BYTES = 32 * 1024 * 1024
"""Bounds of one transaction, and so of the memory it takes."""
MERGE_BELOW_BYTES = 256 * 1024
MERGE_UP_TO_BYTES = 64 * 1024 * 1024
REPLACED_STAYS_S = 120.0
"""How long a merged file stays for whoever is reading it."""

_Group = tuple[str, str, int, datetime]


@dataclass
class Compactor:
    """Turns spool files into segments. One per spool directory at a time: see `exclusively`.

    Attributes:
        index: The index of segments.
        spool_dir: Where scoring appends.
        root: Where segments go, as a path or fsspec URL.
        quarantine_dir: Where records go that cannot be understood.
        columns_of: Signature of a model version.
        counts: Rows, files and refused records since the start.
    """

    index: Segments
    spool_dir: Path
    root: str
    quarantine_dir: Path
    columns_of: Callable[[str, int], ModelColumns]
    counts: Counter[str] = field(default_factory=Counter)

    def run_once(self) -> int:
        """Take in whatever the spool holds now, and give the number of rows.

        Raises:
            UnavailableError: PostgreSQL, MLflow or the segments' storage does not answer; nothing is lost.
        """
        before = self.counts["rows"]
        for path in spool_files(self.spool_dir):
            self._take_in(path)
        for uri in self.index.replaced(REPLACED_STAYS_S):
            remove(uri)
            self.index.forget(uri)
        return self.counts["rows"] - before

    def _take_in(self, path: Path) -> None:
        # asked before reading: what a writer appends until it goes away must not be overlooked
        finished = is_finished(path)
        # what is appended meanwhile waits for the next round: under load there is always some
        size = path.stat().st_size
        try:
            while (reached := self._take_in_part(path)) is not None and reached < size:
                pass
        except InvalidInputError as exc:
            _log.error("spool.unreadable file=%s reason=%s", path.name, exc)
            self._keep_aside(path, path.name, path.read_bytes())
            path.unlink()
            return
        if finished:
            self._remove(path)

    def _take_in_part(self, path: Path) -> int | None:
        """Take in the next records of a file; gives the offset behind them, if there were any."""
        seen = self.index.offset(path.name)
        records, offset = _next_records(path, seen)
        if not records:
            return None
        groups: dict[_Group, list[PredictionRecord]] = defaultdict(list)
        for record in records:
            hour = record.at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
            groups[record.workspace, record.model, record.version, hour].append(record)
        added: dict[Segment, bytes] = {}
        replaced: list[Segment] = []
        refused: list[tuple[PredictionRecord, str]] = []
        for group, mine in groups.items():
            tables, others = typed_rows(mine, self.columns_of(group[1], group[2]))
            refused += others
            if tables:
                one, requests, absorbed = self._write(group, tables, f"{path.stem}-{seen:012d}")
                added[one] = requests
                replaced += absorbed
        if refused:
            self._quarantine(f"{path.stem}-{seen:012d}", refused)
        try:
            self.index.commit(path.name, seen=seen, offset=offset, added=added, replaced=replaced)
        except ConflictError as exc:
            _log.warning("spool.conflict file=%s reason=%s", path.name, exc)
            return None
        rows = sum(one.rows for one in added) - sum(one.rows for one in replaced)
        self.counts.update(rows=rows, files=len(added), refused=len(refused))
        _log.info("spool.compacted file=%s records=%d rows=%d refused=%d", path.name, len(records), rows, len(refused))
        return offset

    def _write(self, group: _Group, tables: Sequence[pa.Table], name: str) -> tuple[Segment, bytes, list[Segment]]:
        """Write one segment, taking small ones of the same hour into it, so that an hour stays a few files.

        Returns:
            The segment, the filter of its request ids, and the segments it took in.
        """
        workspace, model, version, hour = group
        absorbed: list[Segment] = []
        parts = list(tables)
        size = sum(table.nbytes for table in tables)
        for other in self.index.of_hour(model, version, hour, workspace):
            if other.size_bytes > max(2 * size, MERGE_BELOW_BYTES) or size + other.size_bytes > MERGE_UP_TO_BYTES:
                break
            parts.insert(0, read_segment(other.uri))
            absorbed.append(other)
            size += other.size_bytes
        table = merged(parts).sort_by("at")
        place = f"{quote(workspace, safe='')}/{quote(model, safe='')}/{version}/{hour:%Y-%m-%dT%H}"
        uri = f"{self.root.rstrip('/')}/{place}/{name}.parquet"
        ends = pc.min_max(table.column("at"))
        segment = Segment(
            model=model,
            version=version,
            hour=hour,
            uri=uri,
            rows=table.num_rows,
            size_bytes=write_segment(uri, table),
            first_at=ends["min"].as_py(),
            last_at=ends["max"].as_py(),
            workspace=workspace,
        )
        return segment, filter_of(table.column("request_id").to_pylist()), absorbed

    def _remove(self, path: Path) -> None:
        """Remove a finished spool file; a torn record at its end, never acknowledged, is kept aside."""
        offset = self.index.offset(path.name)
        with path.open("rb") as file:
            file.seek(offset)
            rest = file.read()
        if rest not in (b"", MAGIC):
            _log.warning("spool.torn file=%s offset=%d bytes=%d", path.name, offset, len(rest))
            self._keep_aside(path, f"{path.stem}-{offset:012d}.torn", rest)
        # first the file, then its offset: the other way round a kill between would count the rows twice
        path.unlink()
        self.index.drop_spool(path.name)

    def _quarantine(self, name: str, refused: Sequence[tuple[PredictionRecord, str]]) -> None:
        lines = [
            json.dumps(
                {
                    "request_id": record.request_id,
                    "model": record.model,
                    "version": record.version,
                    "at": record.at.isoformat(),
                    "reason": reason,
                    "content_type": record.content_type,
                    "request": base64.b64encode(record.request).decode(),
                    "response": base64.b64encode(record.response).decode(),
                }
            )
            for record, reason in refused
        ]
        for record, reason in refused:
            _log.warning(
                "spool.refused model=%s version=%d request=%s reason=%s",
                *(record.model, record.version, record.request_id, reason),
            )
        self._keep_aside(None, f"{name}.jsonl", "\n".join(lines).encode() + b"\n")

    def _keep_aside(self, origin: Path | None, name: str, content: bytes) -> None:
        self.quarantine_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = self.quarantine_dir / name
        place.write_bytes(content)
        _log.warning("spool.kept_aside file=%s origin=%s bytes=%d", place.name, origin and origin.name, len(content))


@contextmanager
def exclusively(data_dir: Path) -> Iterator[None]:
    """Be the only compactor of a data directory; the lock goes with the process, however it ends.

    Raises:
        AlreadyRunningError: Another process is it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    fd = os.open(data_dir / "compactor.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise AlreadyRunningError(f"another compactor works on {data_dir}") from exc
        yield
    finally:
        os.close(fd)


def _next_records(path: Path, offset: int) -> tuple[list[PredictionRecord], int]:
    records: list[PredictionRecord] = []
    end, begin = offset, offset
    for record, after in read_spool(path, offset):
        records.append(record)
        end = after
        if len(records) >= MAX_RECORDS or end - begin >= MAX_BYTES:
            break
    return records, end
