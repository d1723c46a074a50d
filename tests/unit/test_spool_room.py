"""The spool takes no more of a disk than it may, and goes on when there is room again."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlflow_ext.errors import UnavailableError
from mlflow_ext.spool import PredictionRecord, SpoolWriter, is_finished, read_spool, spool_files
from mlflow_ext.spool_room import LOOK_S, SpoolBounds, SpoolFullError, SpoolRoom, free_bytes, held_bytes

AT = datetime(2026, 1, 2, tzinfo=UTC)
MIB = 1024 * 1024


def record(number: int, size: int = 1_000) -> PredictionRecord:
    """Make a record."""
    return PredictionRecord(str(number), "m", 1, AT, 1, "text/csv", b"x" * size, b"y")


def fill(writer: SpoolWriter, done: list[int], size: int = 1_000) -> None:
    """Append until that fails, counting in `done`."""
    while True:
        writer.append(record(len(done), size))
        done.append(held_bytes(writer.directory) if len(done) % 20 == 0 else 0)


@pytest.mark.parametrize("writers", [1, 2, 7])
@pytest.mark.parametrize("size", [100, 5_000, 200_000])
def test_all_writers_together_stay_below_the_bound(tmp_path: Path, writers: int, size: int) -> None:
    """Whatever the number of writers and the size of records, the files never hold more than they may."""
    bounds = SpoolBounds(max_bytes=2 * MIB, min_free_bytes=0, writers=writers)
    everyone = [SpoolWriter(tmp_path, bounds=bounds) for _ in range(writers)]
    seen: list[list[int]] = [[] for _ in everyone]

    def fill_quietly(writer: SpoolWriter, done: list[int]) -> None:
        with suppress(SpoolFullError):
            fill(writer, done, size)

    threads = [threading.Thread(target=fill_quietly, args=both) for both in zip(everyone, seen, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    end = held_bytes(tmp_path)
    assert max(end, *(max(one, default=0) for one in seen)) <= bounds.max_bytes
    if size < bounds.step_bytes:
        # most of the room is used before anything is lost
        assert end >= bounds.max_bytes / 2


def test_a_full_spool_finishes_its_file_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """What is there can all be taken away, since no file stays open; then records are written again, by itself."""
    clock = [0.0]
    writer = SpoolWriter(tmp_path, bounds=SpoolBounds(MIB, 0))
    writer._room = SpoolRoom(tmp_path, SpoolBounds(MIB, 0), monotonic=lambda: clock[0])
    with pytest.raises(SpoolFullError, match=f"of {MIB}"):
        fill(writer, [])
    assert all(is_finished(path) for path in spool_files(tmp_path))
    for path in spool_files(tmp_path):
        path.unlink()
    with pytest.raises(SpoolFullError):
        writer.append(record(0))
    clock[0] += LOOK_S
    writer.append(record(1))
    writer.close()
    assert [one.request_id for path in spool_files(tmp_path) for one, _ in read_spool(path)] == ["1"]


def test_what_has_to_stay_free_stays_free(tmp_path: Path) -> None:
    """With less free on the disk than is to stay, nothing is written, and the reason says so."""
    writer = SpoolWriter(tmp_path / "spool", bounds=SpoolBounds(2**60, free_bytes(tmp_path) + 2**40))
    with pytest.raises(SpoolFullError, match="stay free"):
        writer.append(record(1))
    assert not (tmp_path / "spool").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB; skipped where mounting one is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    command = [mount or "", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if mount is None or os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs privileges")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_frees_itself_by_finished_files(small_disk: Path) -> None:
    """On a disk that is really full appending fails, what was acknowledged is readable, and room lets it go on."""
    writer = SpoolWriter(small_disk / "spool")
    written: list[int] = []
    with pytest.raises(UnavailableError, match="No space left"):
        fill(writer, written)
    files = spool_files(small_disk / "spool")
    assert [one.request_id for path in files for one, _ in read_spool(path)] == [str(n) for n in range(len(written))]
    assert all(is_finished(path) for path in files)
    for path in files:
        path.unlink()
    writer.append(record(1))
    writer.close()
    assert len(spool_files(small_disk / "spool")) == 1


def test_min_free_keeps_a_real_disk_from_filling(small_disk: Path) -> None:
    """The bound on free bytes stops the spool before others on the disk are hit."""
    writer = SpoolWriter(small_disk / "spool", bounds=SpoolBounds(2**60, MIB))
    with pytest.raises(SpoolFullError, match="stay free"):
        fill(writer, [])
    assert free_bytes(small_disk) >= MIB
