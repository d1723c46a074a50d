"""The prediction log on disk: nothing acknowledged is lost, nothing torn is read."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ext import spool
from mlflow_ext.errors import InvalidInputError, UnavailableError
from mlflow_ext.spool import Answered, PredictionRecord, SpoolWriter, first_at, is_finished, read_spool, spool_files

AT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)


def record(request_id: str = "r1", request: bytes = b"{}", response: bytes = b"[1]") -> PredictionRecord:
    """Make a record."""
    return PredictionRecord(request_id, "wine", 3, AT, 1_234, "application/json", request, response)


texts = st.text(max_size=40)
records = st.builds(
    PredictionRecord,
    request_id=texts,
    model=texts,
    version=st.integers(0, 2**31),
    at=st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    latency_us=st.integers(0, 2**40),
    content_type=texts,
    request=st.binary(max_size=200),
    response=st.binary(max_size=200),
    arm=texts,
    workspace=texts,
    share=st.floats(0, 1),
)


alike = st.builds(
    PredictionRecord,
    request_id=texts,
    model=st.sampled_from(["wine", "flights"]),
    version=st.sampled_from([3, 4]),
    at=st.sampled_from([AT, AT + timedelta(seconds=1)]),
    latency_us=st.integers(0, 2**40),
    content_type=st.sampled_from(["application/json", "text/csv"]),
    request=st.binary(max_size=20),
    response=st.binary(max_size=20),
    share=st.sampled_from([0.5, 1.0]),
)


@given(st.lists(alike, max_size=8))
def test_what_is_written_together_is_what_is_written_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, written: list[PredictionRecord]
) -> None:
    """Whatever the records share with their neighbours, and in which order they come."""
    directory = tmp_path_factory.mktemp("spool")
    writer = SpoolWriter(directory)
    writer.append(*written)
    writer.close()
    assert [one for path in spool_files(directory) for one, _ in read_spool(path)] == written


def test_what_was_answered_together_is_written_as_its_records(tmp_path: Path) -> None:
    """Also where content types differ within a batch; a text that fits no record keeps all of it out."""
    rows = [(f"r{number}", number, kind, b"{}", b"[1]") for number, kind in enumerate(["a", "a", "b", "a", "é"])]
    answered = Answered("wine", 3, AT, rows, workspace="w", share=0.5)
    writer = SpoolWriter(tmp_path)
    writer.append_answered(answered)
    with pytest.raises(InvalidInputError, match="does not fit"):
        writer.append_answered(replace(answered, rows=[*rows, ("r" * 70_000, 0, "a", b"", b"")]))
    [file] = spool_files(tmp_path)
    assert [one for one, _ in read_spool(file)] == answered.records()
    assert [one.content_type for one in answered.records()] == ["a", "a", "b", "a", "é"]


@given(st.lists(records, max_size=8))
def test_reads_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, written: list[PredictionRecord]) -> None:
    """Whatever was appended is read back equal, in order, from the beginning and from every offset given."""
    directory = tmp_path_factory.mktemp("spool")
    writer = SpoolWriter(directory)
    for one in written:
        writer.append(one)
    writer.close()
    read = [pair for path in spool_files(directory) for pair in read_spool(path)]
    assert [one for one, _ in read] == written
    for position, (_, offset) in enumerate(read):
        rest = [one for one, _ in read_spool(spool_files(directory)[0], offset)]
        assert rest == written[position + 1 :]


@given(st.integers(min_value=len(spool.MAGIC)))
def test_stops_before_a_torn_record(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """A file cut anywhere gives the whole records before the cut, and no error."""
    directory = tmp_path_factory.mktemp("spool")
    writer = SpoolWriter(directory)
    for number in range(3):
        writer.append(record(str(number)))
    writer.close()
    [path] = spool_files(directory)
    ends = [offset for _, offset in read_spool(path)]
    size = min(cut, path.stat().st_size)
    os.truncate(path, size)
    assert [offset for _, offset in read_spool(path)] == [end for end in ends if end <= size]


@given(st.data())
def test_a_damaged_byte_yields_no_wrong_record(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """One changed byte never gives a record that was not written."""
    directory = tmp_path_factory.mktemp("spool")
    writer = SpoolWriter(directory)
    written = [record(str(number), os.urandom(20)) for number in range(3)]
    for one in written:
        writer.append(one)
    writer.close()
    [path] = spool_files(directory)
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(len(spool.MAGIC), len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    read = [one for one, _ in read_spool(path)]
    assert read == written[: len(read)]


def test_begins_another_file_by_size(tmp_path: Path) -> None:
    """A file that reached its size is finished, and the records go on in the next one."""
    writer = SpoolWriter(tmp_path, max_file_bytes=1_000)
    for number in range(30):
        writer.append(record(str(number)))
    files = spool_files(tmp_path)
    assert len(files) > 2
    assert all(is_finished(path) for path in files[:-1])
    assert [one.request_id for path in files for one, _ in read_spool(path)] == [str(number) for number in range(30)]
    writer.close()


def test_says_whether_a_writer_lives(tmp_path: Path) -> None:
    """A file counts as finished only when its writer has closed it."""
    writer = SpoolWriter(tmp_path)
    writer.append(record())
    [path] = spool_files(tmp_path)
    assert not is_finished(path)
    writer.close()
    assert is_finished(path)


def test_the_time_of_the_next_record(tmp_path: Path) -> None:
    """From any record's end on it is the next one's, however large; at the end of a file there is none."""
    writer = SpoolWriter(tmp_path)
    later = [AT + timedelta(seconds=number) for number in range(3)]
    for at in later:
        writer.append(replace(record(request=b"x" * 1_000_000), at=at))
    writer.close()
    [path] = spool_files(tmp_path)
    ends = [0, *(end for _, end in read_spool(path))]
    assert [first_at(path, end) for end in ends] == [*later, None]
    with path.open("ab") as file:
        file.write(b"torn")
    assert first_at(path, ends[-1]) is None


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """After kill -9 of the writing process every record whose append returned is there, and its file is finished."""
    script = f"""
from pathlib import Path
from datetime import UTC, datetime
from mlflow_ext.spool import Answered, PredictionRecord, SpoolWriter
writer = SpoolWriter(Path({str(tmp_path)!r}))
number = 0
while True:
    writer.append(PredictionRecord(str(number), "m", 1, datetime.now(UTC), 1, "text/csv", b"x" * 5000, b"y"))
    print(number, flush=True)
    number += 1
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = -1
    for line in process.stdout:
        last = int(line)
        if last == 500:
            process.send_signal(signal.SIGKILL)
            break
    rest = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    acknowledged = int(rest[-1]) if rest else last
    [path] = spool_files(tmp_path)
    assert is_finished(path)
    assert len(list(read_spool(path))) >= acknowledged + 1


def test_several_threads_share_a_writer(tmp_path: Path) -> None:
    """Records of several threads never mix."""
    writer = SpoolWriter(tmp_path, max_file_bytes=20_000)

    def work(name: str) -> None:
        for number in range(100):
            writer.append(record(f"{name}{number}", request=name.encode() * 100))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    read = [one for path in spool_files(tmp_path) for one, _ in read_spool(path)]
    assert len(read) == 400
    assert all(one.request == one.request_id[0].encode() * 100 for one in read)


def test_a_full_disk_leaves_no_torn_record(tmp_path: Path) -> None:
    """A write that fails half-way is an UnavailableError, and what is written after it is readable."""
    writer = SpoolWriter(tmp_path)
    writer.append(record("before"))
    [path] = spool_files(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, before[1]))
    try:
        with pytest.raises(UnavailableError, match=os.strerror(errno.EFBIG)):
            writer.append(record("lost", request=b"x" * 10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    writer.append(record("after"))
    writer.close()
    assert [one.request_id for path in spool_files(tmp_path) for one, _ in read_spool(path)] == ["before", "after"]


def test_an_unwritable_directory_is_an_error_of_ours(tmp_path: Path) -> None:
    """A spool that cannot be made is an UnavailableError, and works again once it can."""
    (tmp_path / "spool").write_text("in the way")
    writer = SpoolWriter(tmp_path / "spool")
    with pytest.raises(UnavailableError, match="cannot be written"):
        writer.append(record())
    (tmp_path / "spool").unlink()
    writer.append(record())
    writer.close()
    assert len(spool_files(tmp_path / "spool")) == 1


def test_refuses_other_files(tmp_path: Path) -> None:
    """A file of another format is refused, not misread."""
    path = tmp_path / "x.spool"
    path.write_bytes(b"something else")
    with pytest.raises(InvalidInputError):
        list(read_spool(path))


def test_too_long_a_text_is_refused(tmp_path: Path) -> None:
    """A record that does not fit the format is refused before anything is written."""
    writer = SpoolWriter(tmp_path)
    with pytest.raises(InvalidInputError):
        writer.append(record("r" * 70_000))
    writer.append(record("fits"))
    writer.close()
    assert [one.request_id for one, _ in read_spool(spool_files(tmp_path)[0])] == ["fits"]
