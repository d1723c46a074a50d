"""The worker process without MLflow: it lives, waits, tells that it lives, and stops when told."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml
from sqlalchemy import Engine, text

from mlflow_ext.domain.promotion import PromotionState
from mlflow_ext.store.promotions import SqlPromotions
from mlflow_ext.store.replicas import Replicas
from tests.conftest import free_port, wait_until
from tests.integration.promotion.conftest import GATES


def test_without_mlflow_a_worker_waits_and_goes_in_order(engine: Engine, database_url: str, tmp_path: Path) -> None:
    """MLflow down: the promotion stays open, with a retry in its story; SIGTERM: it says goodbye and ends with 0."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO registered_models (name, workspace) VALUES ('m', 'default')"))
        connection.execute(
            text(
                "INSERT INTO model_versions (name, version, workspace, current_stage, source, run_id) "
                "VALUES ('m', 1, 'default', 'None', 'models:/m-x', 'r')"
            )
        )
    promotions = SqlPromotions(engine)
    opened = promotions.request("m", 1, source="cli", cause="cli:1")
    file = tmp_path / "mlflow-ext.yaml"
    file.write_text(yaml.safe_dump({"defaults": GATES}))
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "serving.worker"],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={
                **os.environ,
                "MLFLOW_EXT_DATABASE_URL": database_url,
                "MLFLOW_EXT_MLFLOW_URL": f"http://127.0.0.1:{free_port()}",
                "MLFLOW_EXT_DATA_DIR": str(tmp_path),
                "MLFLOW_EXT_CONFIG": str(file),
            },
        )
    try:
        wait_until(lambda: any(step["event"] == "retry" for step in promotions.story(opened.id)), 120, log.read_text)
        [replica] = Replicas(engine).living(role="promotion")
        assert replica.pid == worker.pid
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait()
    assert Replicas(engine).living(role="promotion") == []
    after = promotions.get(opened.id)
    assert after.state is PromotionState.EVALUATING
    assert "MLflow's server does not answer" in promotions.story(opened.id)[-1]["note"]
