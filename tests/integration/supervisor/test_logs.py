"""Log files: whole lines whatever the pieces, and a bounded size."""

from pathlib import Path

import pytest

from mlflow_ext.supervisor import logs
from mlflow_ext.supervisor.logs import LineLog, log_path


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_whole_however_they_come(tmp_path: Path, size: int) -> None:
    """Bytes in pieces of any size, even within a character, give the same lines; the last one needs no end."""
    data = "erste\nzwölf\r\n100% done\n\nlast".encode()
    log = LineLog(tmp_path, "part")
    for start in range(0, len(data), size):
        log.feed(data[start : start + size])
    log.close()
    lines = [line.partition("Z part | ")[2] for line in log_path(tmp_path, "part").read_text().splitlines()]
    assert lines == ["erste", "zwölf", "100% done", "last"]
    assert log.last_lines() == lines


def test_a_file_is_continued_and_its_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run appends; too much moves to numbered files, and the oldest is dropped."""
    monkeypatch.setattr(logs, "MAX_BYTES", 10_000)
    for _ in range(2):
        log = LineLog(tmp_path, "part")
        for number in range(1_000):
            log.feed(f"line {number}\n".encode())
        log.close()
    files = sorted(tmp_path.glob("part.log*"))
    assert len(files) == 1 + logs.KEPT_FILES
    assert all(file.stat().st_size <= 10_000 for file in files)


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    """A process that never ends its line does not fill our memory."""
    log = LineLog(tmp_path, "part")
    for _ in range(40):
        log.feed(b"x" * 10_000)
    log.close()
    assert max(map(len, log_path(tmp_path, "part").read_text().splitlines())) < 100_000
