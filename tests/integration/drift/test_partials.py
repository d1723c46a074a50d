"""Profiles and partials: the reference is read once, a segment is counted once, and no answer depends on it."""

from pathlib import Path

import pytest
from sqlalchemy import text

from drift.profiles import PLACE
from drift.waiting import run_now
from mlflow_ext.domain.drift import DriftReport, DriftVerdict
from mlflow_ext.store.partials import Partials
from tests.integration.drift.conftest import HOUR, SINCE, World, rows_like_training


def check(world: World, hours: int = 1) -> DriftReport:
    """Check the first hours, in this process: no scheduler lives."""
    done = run_now(world.parts, world.model, since=SINCE, until=SINCE + hours * HOUR, version=None, quiet=True)
    assert done.report is not None, done.error
    return done.report


def kept(world: World) -> int:
    """Number of partials of the model's segments."""
    with world.engine.connect() as connection:
        return int(
            connection.execute(
                text(
                    "SELECT count(*) FROM mlflow_ext.drift_partial JOIN mlflow_ext.segment USING (uri) WHERE model = :m"
                ),
                {"m": world.model},
            ).scalar_one()
        )


def test_hours_are_counted_once_and_the_reference_is_read_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hours merge to what a fresh count gives; then neither reference nor machine-local copies are needed."""
    for hour in range(2):
        world.score(rows_like_training(400, seed=20 + hour), since=SINCE + hour * HOUR, batch=10)
    check(world)
    assert kept(world) == 1
    merged = check(world, hours=2)
    assert kept(world) == 2
    assert merged.window_rows == 800
    with world.engine.begin() as connection:
        connection.execute(text("DELETE FROM mlflow_ext.drift_partial"))
    # another machine: no copies; and the reference's rows are gone
    references = world.settings.data_dir.absolute() / "references" / world.model
    for path in references.iterdir():
        path.unlink()
    monkeypatch.setattr("drift.reference.References.open", None)
    fresh = check(world, hours=2)
    assert fresh.columns == merged.columns
    assert (fresh.verdict, fresh.reference_rows) == (DriftVerdict.OK, 3_000)
    run_id = world.client.get_model_version(world.model, "1").run_id
    names = {Path(one.path).name.split("-")[0] for one in world.client.list_artifacts(str(run_id), PLACE)}
    assert names == {"profile", "sample"}


def test_partials_go_with_their_segment(world: World) -> None:
    """A segment that is forgotten takes its partials along; one that is gone gets none."""
    world.score(rows_like_training(300, seed=22), batch=10)
    check(world)
    partials = Partials(world.engine)
    with world.engine.begin() as connection:
        uri = connection.execute(
            text("SELECT uri FROM mlflow_ext.segment WHERE model = :m"), {"m": world.model}
        ).scalar_one()
        partials.put("another", {uri: b"counts", "nowhere": b"counts"})
        assert partials.get("another", [uri, "nowhere"]) == {uri: b"counts"}
        connection.execute(text("DELETE FROM mlflow_ext.segment WHERE uri = :u"), {"u": uri})
    assert partials.get("another", [uri]) == {}
    assert kept(world) == 0


def test_drift_of_one_window_waits_for_another(world: World) -> None:
    """Two of the last three windows: the first drifted one is ok and says so, the second is drift."""
    world.with_policy(drifted_windows=2, last_windows=3)
    for hour in range(2):
        world.score(rows_like_training(400, seed=23 + hour, shift=1.0), since=SINCE + hour * HOUR, batch=10)
    found = []
    for hour in range(2):
        begin = SINCE + hour * HOUR
        done = run_now(world.parts, world.model, since=begin, until=begin + HOUR, version=None, quiet=True)
        assert done.report is not None
        found.append(done.report)
    assert [one.verdict for one in found] == [DriftVerdict.OK, DriftVerdict.DRIFT]
    assert found[0].found_drift
    assert "drift in 1 of the last 1 windows, 2 are needed" in found[0].reason
