"""The prediction log on disk: what scoring answered, appended before the answer is sent, read by the compactor.

What the bytes mean (columns, rows, types) is the compactor's business: `drift/compactor.py`.

A spool is a directory; each writing process has files of its own in it. A file is a magic word and then records:
length of the body, CRC-32 of the body, body (numbers big-endian). A kill -9 leaves at most one torn record at the end
of a file, because `write()` has returned before the answer leaves. Files are not synced: power loss may cost the last
seconds.
"""

import fcntl
import os
import secrets
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

from isal.isal_zlib import crc32

from mlflow_ext.errors import InvalidInputError, UnavailableError
from mlflow_ext.spool_room import MOST_FILE_BYTES, SpoolBounds, SpoolFullError, SpoolRoom

SUFFIX = ".spool"
MAGIC = b"MLXSPL\x00\x02"
ARM = "champion"
"""Of the traffic policy, where it has only one."""
_FRAME = struct.Struct(">II")
# at (microseconds since 1970), latency (microseconds), version, share, then the lengths of the seven parts
_HEAD = struct.Struct(">qQqdHHHHHII")
_SHARED = attrgetter("model", "version", "at", "workspace", "arm", "share")
_OWN = attrgetter("request_id", "latency_us", "content_type", "request", "response")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """One answered request.

    Attributes:
        request_id: The answer's `X-Request-Id`; feedback names it.
        model: Registered model.
        version: Version that answered.
        at: When the request was complete, with a time zone.
        latency_us: From the complete request to the complete answer, in microseconds.
        content_type: The request's `Content-Type`.
        request: Raw body of the request.
        response: Raw body of the answer.
        arm: Arm of the traffic policy.
        workspace: MLflow workspace.
        share: Share of the requests that the log kept when it kept this one; 1 is all.
    """

    request_id: str
    model: str
    version: int
    at: datetime
    latency_us: int
    content_type: str
    request: bytes
    response: bytes
    arm: str = ARM
    workspace: str = "default"
    share: float = 1.0


Row = tuple[str, int, str, bytes, bytes]
"""Of a `PredictionRecord`: request id, latency, content type, request and answer."""


@dataclass(slots=True)
class Answered:
    """Requests that a version answered at the same time: what they share is said, and made ready, once.

    Attributes:
        model: Registered model.
        version: Version that answered.
        at: When the requests were complete, with a time zone.
        rows: What each has for itself; tuples, since objects with names take several times as long to make.
        workspace: MLflow workspace.
        arm: Arm of the traffic policy.
        share: As a record's.
    """

    model: str
    version: int
    at: datetime
    rows: Sequence[Row]
    workspace: str = "default"
    arm: str = ARM
    share: float = 1.0

    def records(self) -> list[PredictionRecord]:
        """Give a record for each request."""
        return [
            PredictionRecord(
                request_id=request_id,
                model=self.model,
                version=self.version,
                at=self.at,
                latency_us=latency_us,
                content_type=content_type,
                request=request,
                response=response,
                arm=self.arm,
                workspace=self.workspace,
                share=self.share,
            )
            for request_id, latency_us, content_type, request, response in self.rows
        ]


class SpoolWriter:
    """Appends records to files of its own; safe for several threads of one process.

    A living writer holds an flock on its file, so that a reader can tell a file that may still grow from one that is
    finished. The file appears under its name only once the lock is held.
    """

    def __init__(
        self, directory: Path, *, max_file_bytes: int = MOST_FILE_BYTES, bounds: SpoolBounds | None = None
    ) -> None:
        """Take the spool's directory (made when missing), the size at which the next file is begun, and the bounds."""
        self.directory = directory
        self._max_file_bytes = max_file_bytes if bounds is None else min(max_file_bytes, bounds.file_bytes)
        self._room = None if bounds is None else SpoolRoom(directory, bounds)
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._size = 0

    def append(self, *records: PredictionRecord) -> None:
        """Write records, all or none, as `append_answered` does."""
        self._append(b"".join(_encode(answered) for answered in _together(records)))

    def append_answered(self, answered: Answered) -> None:
        """Write what was answered, all or none; it outlives this process when the method returns.

        Raises:
            SpoolFullError: The spool holds as much as it may.
            UnavailableError: The disk is full or cannot be written. Nothing of the records stays; the next call tries
                again.
            InvalidInputError: A text is longer than 65,535 bytes or a body longer than 4 GiB.
        """
        self._append(_encode(answered))

    def _append(self, data: bytes) -> None:
        with self._lock:
            if self._room is not None and (why := self._room.refusal(len(data))) is not None:
                # the compactor removes finished files only
                self._close()
                raise SpoolFullError(why)
            try:
                fd = self._open() if self._fd is None else self._fd
                _write_all(fd, data)
            except OSError as exc:
                self._drop_torn_record()
                raise UnavailableError(f"the spool {self.directory} cannot be written: {exc.strerror}") from exc
            self._size += len(data)
            if self._size >= self._max_file_bytes:
                self._close()

    def close(self) -> None:
        """Finish the present file; a later `append` begins another."""
        with self._lock:
            self._close()

    def _open(self) -> int:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"
        opening = self.directory / f"{name}.opening"
        fd = os.open(opening, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            _write_all(fd, MAGIC)
            opening.rename(self.directory / f"{name}{SUFFIX}")
        except OSError:
            os.close(fd)
            opening.unlink(missing_ok=True)
            raise
        self._fd, self._size = fd, len(MAGIC)
        return fd

    def _drop_torn_record(self) -> None:
        """Cut off what a failed write left, and finish the file: the compactor then frees the disk of it."""
        if self._fd is not None:
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
            self._close()

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def spool_files(directory: Path) -> list[Path]:
    """Give the spool's files, oldest first; empty when the directory does not exist."""
    return sorted(directory.glob(f"*{SUFFIX}"))


def is_finished(path: Path) -> bool:
    """Tell whether no living writer has the file open: what is in it now is all that will ever be."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def read_spool(path: Path, offset: int = 0) -> Iterator[tuple[PredictionRecord, int]]:
    """Give the records from an offset on, each with the offset after it; 0 is the beginning of the file.

    Ends at the end of the file, or before a record that is torn or damaged.

    Raises:
        InvalidInputError: The file is no spool file of this format.
    """
    with path.open("rb") as file:
        if offset == 0:
            magic = file.read(len(MAGIC))
            if magic != MAGIC:
                raise InvalidInputError(f"{path} is not a spool file of this version of mlflow-ext")
            offset = len(MAGIC)
        file.seek(offset)
        while (body := _next_body(file)) is not None:
            offset += _FRAME.size + len(body)
            yield _decode(body), offset


def first_at(path: Path, offset: int) -> datetime | None:
    """Give the time of the first record from an offset on; `None` where there is none (yet).

    Only its head is read, so that it costs as little for a large record as for a small one.
    """
    with path.open("rb") as file:
        file.seek(max(offset, len(MAGIC)))
        begin = file.read(_FRAME.size + _HEAD.size)
    if len(begin) < _FRAME.size + _HEAD.size:
        return None
    at_us: int = _HEAD.unpack_from(begin, _FRAME.size)[0]
    return _EPOCH + at_us * _MICROSECOND


def _next_body(file: BinaryIO) -> bytes | None:
    frame = file.read(_FRAME.size)
    if len(frame) < _FRAME.size:
        return None
    length, checksum = _FRAME.unpack(frame)
    # a damaged length must not make the reader ask for gigabytes
    if length < _HEAD.size or length > os.fstat(file.fileno()).st_size - file.tell():
        return None
    body = file.read(length)
    return body if len(body) == length and crc32(body) == checksum else None


def _together(records: Sequence[PredictionRecord]) -> Iterator[Answered]:
    for (model, version, at, workspace, arm, share), some in groupby(records, _SHARED):
        yield Answered(model, version, at, list(map(_OWN, some)), workspace, arm, share)


def _encode(answered: Answered) -> bytes:
    """Write records one after the other; bodies are copied once, and what records share is written down once."""
    parts: list[bytes] = []
    at_us = (answered.at - _EPOCH) // _MICROSECOND
    version, share = answered.version, answered.share
    seldom, pack = None, _HEAD.pack
    for request_id, latency_us, content_type, request, response in answered.rows:
        if content_type is not seldom:
            seldom = content_type
            lengths, texts = _texts(answered.model, content_type, answered.arm, answered.workspace)
            model_length, type_length, arm_length, workspace_length = lengths
        name = request_id.encode("utf-8", "surrogateescape")
        asked, said = len(request), len(response)
        try:
            begin = (
                pack(
                    at_us,
                    latency_us,
                    version,
                    share,
                    len(name),
                    model_length,
                    type_length,
                    arm_length,
                    workspace_length,
                    asked,
                    said,
                )
                + name
                + texts
            )
            checksum = crc32(response, crc32(request, crc32(begin)))
            parts += (_FRAME.pack(len(begin) + asked + said, checksum), begin, request, response)
        except struct.error as exc:
            raise InvalidInputError(f"prediction {request_id[:128]} does not fit a spool record: {exc}") from exc
    return b"".join(parts)


@lru_cache(maxsize=256)
def _texts(*texts: str) -> tuple[tuple[int, ...], bytes]:
    """Give lengths and bytes of the texts that hardly ever change."""
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    return tuple(map(len, encoded)), b"".join(encoded)


def _decode(body: bytes) -> PredictionRecord:
    at_us, latency_us, version, share, *lengths = _HEAD.unpack_from(body)
    parts: list[bytes] = []
    position = _HEAD.size
    for length in lengths:
        parts.append(body[position : position + length])
        position += length
    request_id, model, content_type, arm, workspace = (part.decode("utf-8", "surrogateescape") for part in parts[:5])
    return PredictionRecord(
        request_id=request_id,
        model=model,
        version=version,
        at=_EPOCH + at_us * _MICROSECOND,
        latency_us=latency_us,
        content_type=content_type,
        request=parts[5],
        response=parts[6],
        arm=arm,
        workspace=workspace,
        share=share,
    )


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
