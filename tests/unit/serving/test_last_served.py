"""What a machine served last, in its file."""

from pathlib import Path

import pytest

from serving.last_served import LastServed
from serving.pool import Pool
from tests.unit.serving.in_process import loaded


def test_what_answers_is_kept(tmp_path: Path) -> None:
    """Every model's version is kept with its generation, and read back as it was; the file is its owner's."""
    pool, last = Pool(), LastServed(tmp_path / "served.json")
    for model, version in (("a", 3), ("b", 1)):
        pool.add(loaded(model, version))
        pool.swap(loaded(model, version), version + 10)
    last.write(pool)
    assert [(one.model, one.version, one.generation) for one in last.read()] == [("a", 3, 13), ("b", 1, 11)]
    assert last.read()[0].model_version.source == "models:/a/3"
    assert (tmp_path / "served.json").stat().st_mode & 0o777 == 0o600


def test_a_withdrawn_version_is_forgotten(tmp_path: Path) -> None:
    """What the registry withdrew does not come back at a start without it."""
    pool, last = Pool(), LastServed(tmp_path / "served.json")
    pool.swap(loaded("a", 3), 1)
    last.write(pool)
    pool.withdraw("a")
    last.write(pool)
    assert last.read() == []


def test_a_failure_does_not_forget(tmp_path: Path) -> None:
    """A version that could not be loaded this time stays kept for the next."""
    last = LastServed(tmp_path / "served.json")
    before = Pool()
    before.swap(loaded("a", 3), 1)
    last.write(before)
    now = Pool()
    now.fail("a", 3, "the disk is slow")
    last.write(now)
    assert [one.version for one in last.read()] == [3]


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"model": "a"}]', '[{"model": "a", "more": 1}]', "7"])
def test_a_file_that_cannot_be_understood(tmp_path: Path, text: str) -> None:
    """Whatever stands in the file, nothing is served from it by mistake, and it is written anew."""
    (tmp_path / "served.json").write_text(text)
    last = LastServed(tmp_path / "served.json")
    assert last.read() == []
    pool = Pool()
    pool.swap(loaded("a", 3), 1)
    last.write(pool)
    assert [one.version for one in last.read()] == [3]


def test_without_a_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing can be kept, that is said, and nothing else happens."""
    LastServed(tmp_path / "nowhere" / "served.json").write(Pool())
    assert "event=not_kept" in caplog.text
