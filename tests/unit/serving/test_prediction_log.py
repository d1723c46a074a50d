"""The prediction log as its policy wants it; what is not written is counted and told, and never stops an answer."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlflow_ext.domain.sampling import is_kept
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.spool import SpoolWriter
from mlflow_ext.spool_room import SpoolBounds
from serving.heartbeat import state_of
from serving.metrics import Metrics
from serving.pool import Pool
from serving.prediction_log import COMPLAIN_EVERY_S, LOSING_FOR_S, PredictionLog
from tests.conftest import wait_until
from tests.unit.serving.in_process import App, app, loaded
from tests.unit.test_spool_room import record

ROWS = {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}}
WIDE = {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]] * 5_000}}


def score(running: App, body: Any = ROWS, **headers: str) -> httpx.Response:
    """Score once."""
    return running.client.post("/models/sum/invocations", json=body, headers=headers)


def test_scoring_goes_on_while_the_spool_is_full_and_logging_resumes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every request is answered; the loss is counted, logged once, shown by `/readyz` and replica state; it ends."""
    with app(tmp_path, loaded("sum", 1), spool_max_bytes=1024**2, spool_min_free_bytes=0) as running:
        for _ in range(40):
            assert score(running, WIDE).status_code == 200
        kept = len(running.records())
        assert 0 < kept < 40
        metrics = running.client.get("/metrics").text
        assert f'spool_lost_records_total{{model="sum",reason="full"}} {40 - kept:.1f}' in metrics
        ready = running.client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "prediction_log": "losing"})
        told = state_of(running.pool, running.parts.log)["sum"]["log"]
        assert (told["lost"], told["losing"]) == ({"full": 40 - kept}, True)
        complaints = [one for one in caplog.messages if "predictions_lost" in one]
        assert len(complaints) == 1
        assert "reason=full" in complaints[0]

        for path in running.spool.iterdir():
            path.unlink()
        wait_until(lambda: score(running).status_code == 200 and len(running.records()) > 0, 20)
        lines = running.client.get("/metrics").text.splitlines()
        [size] = [line.split()[-1] for line in lines if line.startswith("mlflow_ext_spool_bytes ")]
        assert float(size) > 0


def test_a_loss_is_told_once_a_minute_with_its_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A log line at the first loss, then one a minute with what was lost since; a minute after the last it is over."""
    clock = [0.0]
    (tmp_path / "spool").write_text("in the way")
    log = PredictionLog(SpoolWriter(tmp_path / "spool"), Metrics(), monotonic=lambda: clock[0])
    for _ in range(3):
        assert not log.append(loaded("m", 1), [record(1), record(2)])
    clock[0] += COMPLAIN_EVERY_S
    assert not log.append(loaded("m", 1), [record(3)])
    assert [one.partition("lost=")[2].split()[0] for one in caplog.messages] == ["2", "5"]
    assert log.losing
    clock[0] += LOSING_FOR_S
    assert not log.losing
    assert log.state("m") is not None
    assert log.state("other") is None


def test_a_sampled_log_keeps_exactly_the_chosen_requests_with_their_share(tmp_path: Path) -> None:
    """Which ones can be told from the request ids alone; the others are counted, and are no loss."""
    policy = {"sum": {"prediction_log": {"mode": "sampled", "share": 0.3}}}
    ids = [f"request-{number}" for number in range(100)]
    with app(tmp_path, loaded("sum", 1), models=policy) as running:
        for one in ids:
            assert score(running, **{"X-Request-Id": one}).status_code == 200
        records = running.records()
        metrics = running.client.get("/metrics").text
    assert [one.request_id for one in records] == [one for one in ids if is_kept(one, 0.3)]
    assert {one.share for one in records} == {0.3}
    assert f'spool_passed_over_records_total{{model="sum"}} {100 - len(records):.1f}' in metrics
    assert "lost_records_total{" not in metrics


def test_durable_is_the_default_and_keeps_everything() -> None:
    """A share belongs to the mode `sampled`; without it everything is kept."""
    assert ModelPolicy().prediction_log.kept == 1.0
    assert ModelPolicy.model_validate({"prediction_log": {"mode": "durable", "share": 0.5}}).prediction_log.kept == 1.0
    assert ModelPolicy.model_validate({"prediction_log": {"mode": "sampled"}}).prediction_log.kept == 0.1


def test_nothing_lost_is_nothing_to_tell(tmp_path: Path) -> None:
    """Without a loss the replica's state has no word about the log."""
    log = PredictionLog(SpoolWriter(tmp_path, bounds=SpoolBounds(1024**2, 0)), Metrics())
    pool = Pool()
    version = loaded("m", 1)
    pool.add(version)
    pool.swap(version, 1)
    assert log.append(version, [record(1)])
    assert "log" not in state_of(pool, log)["m"]
    assert json.dumps(state_of(pool, log))
    log.close()
    shutil.rmtree(tmp_path)
