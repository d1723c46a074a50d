"""From spool to segments: every acknowledged prediction exactly once, whatever is killed and whatever arrives."""

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, text

from drift.compactor import Compactor, exclusively
from drift.segment_files import read_window
from mlflow_ext.domain.drift import Window
from mlflow_ext.errors import AlreadyRunningError, ConflictError, UnavailableError
from mlflow_ext.registry.scoring_protocol import ModelColumns
from mlflow_ext.spool import PredictionRecord, SpoolWriter, spool_files
from mlflow_ext.store.segments import Segments
from tests.integration.drift.killed import kill_while_compacting
from tests.integration.drift.spooled import HOUR, SINCE, compactor_in, fill

DAY = Window(SINCE - timedelta(days=1), SINCE + timedelta(days=1))


def record(
    number: int, *, model: str = "m", rows: int = 1, hours: int = 0, body: bytes | None = None
) -> PredictionRecord:
    """An answered request."""
    data = {"dataframe_records": [{"x": float(number + row), "c": "text"} for row in range(rows)]}
    return PredictionRecord(
        request_id=f"r{number}",
        model=model,
        version=1,
        at=SINCE + hours * HOUR + timedelta(milliseconds=number),
        latency_us=700,
        content_type="application/json",
        request=json.dumps(data).encode() if body is None else body,
        response=json.dumps({"predictions": [number] * rows}).encode(),
    )


@pytest.fixture
def compactor(engine: Engine, tmp_path: Path) -> Compactor:
    """A compactor of a directory, for models without signature."""
    return compactor_in(tmp_path, engine)


def test_rows_arrive_typed_by_model_version_and_hour(compactor: Compactor, tmp_path: Path) -> None:
    """Each hour of each model is files of its own; the spool file goes; the window reads what came in it."""
    fill(compactor, record(1, rows=2), record(2, hours=1), record(3, model="other/ä"))
    assert compactor.run_once() == 4
    assert spool_files(compactor.spool_dir) == []
    found = sorted(str(path.relative_to(tmp_path / "segments").parent) for path in tmp_path.rglob("*.parquet"))
    assert found == ["default/m/1/2026-03-01T08", "default/m/1/2026-03-01T09", "default/other%2F%C3%A4/1/2026-03-01T08"]
    rows = read_window(compactor.index, "m", 1, Window(SINCE, SINCE + HOUR))
    assert rows.meta[["request_id", "row"]].to_numpy().tolist() == [["r1", 0], ["r1", 1]]
    assert rows.inputs.to_dict("list") == {"x": [1.0, 2.0], "c": ["text", "text"]}
    assert rows.outputs.to_dict("list") == {"prediction": [1, 1]}
    assert rows.meta["latency_us"].tolist() == [700, 700]


def test_a_living_writers_file_is_followed(compactor: Compactor) -> None:
    """What is in it is taken at once, the file stays until its writer is done with it."""
    writer = SpoolWriter(compactor.spool_dir)
    for number in range(5):
        writer.append(record(number))
        assert compactor.run_once() == 1
        assert compactor.run_once() == 0
    assert len(spool_files(compactor.spool_dir)) == 1
    writer.close()
    compactor.run_once()
    assert spool_files(compactor.spool_dir) == []
    assert read_window(compactor.index, "m", 1, DAY).meta["request_id"].tolist() == [f"r{n}" for n in range(5)]


def test_an_hour_stays_a_few_files(compactor: Compactor, engine: Engine) -> None:
    """Small segments are merged into the next one; merged files are removed later, not while they may be read."""
    for number in range(30):
        fill(compactor, record(number))
        compactor.run_once()
    assert len(compactor.index.of_hour("m", 1, SINCE)) == 1
    assert len(compactor.index.replaced(0)) == 29
    with engine.begin() as connection:
        connection.execute(text("UPDATE mlflow_ext.segment SET replaced_at = replaced_at - interval '1 hour'"))
    compactor.run_once()
    assert len(list(Path(compactor.root).rglob("*.parquet"))) == 1
    assert len(read_window(compactor.index, "m", 1, DAY)) == 30


def test_what_cannot_be_understood_is_counted_and_kept_aside(compactor: Compactor) -> None:
    """It blocks nothing, and the whole request is there to look at."""
    fill(compactor, record(1), record(2, body=b"\xff no json"), record(3))
    assert compactor.run_once() == 2
    assert compactor.counts["refused"] == 1
    [kept] = compactor.quarantine_dir.iterdir()
    [line] = [json.loads(line) for line in kept.read_text().splitlines()]
    assert (line["request_id"], line["model"]) == ("r2", "m")
    assert line["reason"]


def test_a_torn_record_at_the_end_of_a_dead_writers_file_is_kept_aside(compactor: Compactor) -> None:
    """It was never acknowledged; the records before it are taken in."""
    fill(compactor, record(1), record(2))
    [path] = spool_files(compactor.spool_dir)
    path.write_bytes(path.read_bytes()[:-3])
    assert compactor.run_once() == 1
    assert spool_files(compactor.spool_dir) == []
    [kept] = compactor.quarantine_dir.iterdir()
    assert kept.suffix == ".torn"


def test_a_file_that_is_no_spool_file_blocks_nothing(compactor: Compactor) -> None:
    """It is moved aside as it is."""
    compactor.spool_dir.mkdir()
    (compactor.spool_dir / "0-alien.spool").write_bytes(b"something else")
    fill(compactor, record(1))
    assert compactor.run_once() == 1
    assert [path.name for path in compactor.quarantine_dir.iterdir()] == ["0-alien.spool"]


def test_without_mlflow_the_spool_waits(compactor: Compactor) -> None:
    """A signature that cannot be asked for is no reason to guess types, or to lose rows."""

    def unavailable(_model: str, _version: int) -> ModelColumns:
        raise UnavailableError("MLflow does not answer")

    known = compactor.columns_of
    compactor.columns_of = unavailable
    fill(compactor, record(1))
    with pytest.raises(UnavailableError):
        compactor.run_once()
    compactor.columns_of = known
    assert compactor.run_once() == 1


def test_a_second_compactor_of_a_directory_is_refused(tmp_path: Path) -> None:
    """One per data directory, until it goes."""
    with exclusively(tmp_path), pytest.raises(AlreadyRunningError), exclusively(tmp_path):
        pass
    with exclusively(tmp_path):
        pass


def test_an_offset_that_moved_meanwhile_is_not_committed(compactor: Compactor) -> None:
    """Whoever read the same records second writes nothing."""
    compactor.index.commit("s", seen=0, offset=10, added={}, replaced=[])
    with pytest.raises(ConflictError):
        compactor.index.commit("s", seen=0, offset=20, added={}, replaced=[])
    assert compactor.index.offset("s") == 10


def test_segments_may_live_in_any_fsspec_file_system(compactor: Compactor) -> None:
    """Here in fsspec's memory file system; object stores are written the same way."""
    compactor.root = "memory://segments-of-a-test"
    fill(compactor, record(1), record(2, hours=1))
    compactor.run_once()
    assert len(read_window(compactor.index, "m", 1, DAY)) == 2


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_kill_9_at_any_point_loses_and_doubles_nothing(
    kills: int, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    """A compactor killed again and again while a writer appends: every acknowledged row is there exactly once."""
    acknowledged = kill_while_compacting(kills, database_url, tmp_path, str(tmp_path / "segments"))
    compactor_in(tmp_path, engine).run_once()
    assert spool_files(tmp_path / "spool") == []
    index = Segments(engine)
    found = Counter(read_window(index, "m", 1, DAY).meta["request_id"])
    assert acknowledged > 50
    assert found == Counter(f"r{number}" for number in range(acknowledged))
    indexed = {one.uri for one in index.find("m", 1, DAY.since, DAY.until)}
    assert sum(pq.read_metadata(uri).num_rows for uri in indexed) == acknowledged


def test_a_reader_survives_a_merge(compactor: Compactor) -> None:
    """A file that goes between the look at the index and the reading is found under its new name."""
    fill(compactor, record(1))
    compactor.run_once()
    [before] = compactor.index.of_hour("m", 1, SINCE)

    class Stale(Segments):
        looks = 0

        def find(self, *arguments: object) -> list:  # type: ignore[override,type-arg]
            self.looks += 1
            found = super().find(*arguments)  # type: ignore[arg-type]
            if self.looks == 1:
                fill(compactor, record(2))
                compactor.run_once()
                Path(before.uri).unlink()
            return found

    stale = Stale(compactor.index._engine)
    assert len(read_window(stale, "m", 1, DAY)) == 2
    assert stale.looks == 2
