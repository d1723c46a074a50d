"""A world whose inputs, and what they mean, change: the platform notices, retrains and promotes, and nobody helps."""

import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml
from sqlalchemy import Engine

from mlflow_ext.domain.alerts import AlertState
from mlflow_ext.domain.drift import DriftCheck, DriftVerdict
from mlflow_ext.domain.promotion import Promotion, PromotionState
from mlflow_ext.domain.retraining import Retraining, RetrainingState, Trigger
from mlflow_ext.domain.stages import Stage
from mlflow_ext.registry.client import MlflowRegistry, connect
from mlflow_ext.store.alerts import Alerts
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.promotions import SqlPromotions
from mlflow_ext.store.retrainings import Retrainings
from tests.acceptance.running import Up
from tests.conftest import wait_until

MODEL = "regime"
PROJECT = Path(tempfile.gettempdir(), f"mlflow-ext-{MODEL}-{uuid4().hex[:8]}")
"""The project's repository; its place stands in the policy before it is made."""
GOOD = 0.9
POLICIES: dict[str, Any] = {
    MODEL: {
        "gates": [{"gate": "metric", "metric": "roc_auc", "threshold": GOOD, "min_absolute_change": 0.05}],
        "drift": {
            "window_s": 20.0,
            "minimum_rows": 300,
            "sample_rows": 1_000,
            "performance": {"roc_auc": {"below": GOOD, "minimum_rows": 300}},
        },
        "retraining": {
            "project": PROJECT.as_uri(),
            "version": "main",
            "parameters": {"recent": "{recent}", "model": MODEL},
            # by what came true: the first window that drifts holds mostly rows of the old world
            "triggers": {"drift": False, "metrics": {"roc_auc": {"below": 0.3, "minimum_rows": 300}}},
            "cooldown_s": 0,
            "halt_after": 0,
        },
    }
}
PATIENCE_S = 300.0
"""For each step; all of them together take some minute on an idle machine."""
TRAIN = """
import sys, tempfile
from pathlib import Path
import mlflow, pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

recent, model = sys.argv[1:]
rows = pd.read_parquet(recent).astype({"target": "int64"})
cut = len(rows) * 3 // 4
training, newest = rows.iloc[:cut], rows.iloc[cut:]
features = ["a", "b"]
fitted = LogisticRegression().fit(training[features], training["target"])
answers = fitted.predict_proba(newest[features])
with mlflow.start_run(), tempfile.TemporaryDirectory() as scratch:
    seen = newest.assign(prediction_0=answers[:, 0], prediction_1=answers[:, 1])
    for name, frame in (("evaluation", newest), ("reference", seen)):
        frame.to_parquet(Path(scratch, f"{name}.parquet"), index=False)
        mlflow.log_artifact(str(Path(scratch, f"{name}.parquet")), "data")
    mlflow.sklearn.log_model(fitted, name="model", registered_model_name=model, pyfunc_predict_fn="predict_proba",
        signature=infer_signature(newest[features], answers), input_example=newest[features].head(2),
        serialization_format="skops", pip_requirements=["scikit-learn"])
"""
MLPROJECT = """
name: regime
entry_points:
  retrain:
    parameters: {recent: path, model: string}
    command: "python train.py {recent} {model}"
"""


def rows_of(count: int, seed: int, *, changed: bool) -> pd.DataFrame:
    """Rows of the world before or after it changed: other inputs, and the same ones come to the opposite."""
    random = np.random.default_rng(seed)
    a, b = random.normal(1.5 if changed else 0.0, 1, (2, count))
    odds = 4 * (b - a if changed else a - b)
    return pd.DataFrame({"a": a, "b": b, "target": (random.random(count) < 1 / (1 + np.exp(-odds))).astype("int64")})


class WorldAtWork(threading.Thread):
    """Asks for predictions all along, and tells what came true; whether the world has changed is a switch."""

    def __init__(self, url: str) -> None:
        """Take the promotion service's address."""
        super().__init__(name="world", daemon=True)
        self.changed = False
        self.failed: list[str] = []
        self._url = f"{url}/models/{MODEL}"
        self._over = threading.Event()

    def run(self) -> None:
        """Score 60 rows twice a second."""
        with httpx.Client(timeout=30) as session:
            turn = 0
            while not self._over.wait(0.5):
                turn += 1
                try:
                    self._ask(session, turn)
                except httpx.HTTPError as exc:
                    self.failed.append(f"{type(exc).__name__}: {exc}")

    def stop(self) -> None:
        """End."""
        self._over.set()
        self.join(60)

    def _ask(self, session: httpx.Client, turn: int) -> None:
        rows = rows_of(60, turn, changed=self.changed)
        body = {"dataframe_split": {"columns": ["a", "b"], "data": rows[["a", "b"]].to_numpy().tolist()}}
        answer = session.post(f"{self._url}/invocations", json=body).raise_for_status()
        id_ = answer.headers["x-request-id"]
        told = [{"request_id": id_, "row": row, "value": int(value)} for row, value in enumerate(rows["target"])]
        session.post(f"{self._url}/feedback", json={"feedback": told}).raise_for_status()


@pytest.fixture
def in_production(stack: Up, tmp_path: Path) -> Iterator[None]:
    """Version 1, made by the project itself from rows of the old world, is in Production, and checked on schedule."""
    PROJECT.mkdir()
    (PROJECT / "train.py").write_text(TRAIN)
    (PROJECT / "MLproject").write_text(MLPROJECT)
    git = ["git", "-C", str(PROJECT), "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "--all"], ["commit", "-q", "--message", "Train"]):
        subprocess.run([*git, *command], check=True)
    rows_of(4_000, 0, changed=False).to_parquet(tmp_path / "first.parquet", index=False)
    subprocess.run(
        [sys.executable, str(PROJECT / "train.py"), str(tmp_path / "first.parquet"), MODEL],
        env={**stack.environment, "MLFLOW_TRACKING_URI": stack.mlflow_url},
        cwd=tmp_path,
        check=True,
        timeout=120,
    )
    MlflowRegistry(connect(stack.mlflow_url)).set_stage(MODEL, 1, Stage.PRODUCTION)
    file = stack.directory / "mlflow-ext.yaml"
    before = file.read_text()
    document = yaml.safe_load(before)
    # only while this test runs: other tests share the scheduler
    document["models"][MODEL]["drift"]["schedule"] = "* * * * * */20"
    _write(file, yaml.safe_dump(document))
    yield
    _write(file, before)
    shutil.rmtree(PROJECT)


@pytest.fixture
def world(stack: Up, in_production: None) -> Iterator[WorldAtWork]:
    """The world, as it was."""
    url = f"{stack.serving_url}/models/{MODEL}/invocations"
    body = {"dataframe_split": {"columns": ["a", "b"], "data": [[0.0, 0.0]]}}
    wait_until(lambda: httpx.post(url, json=body, timeout=30).status_code == 200, PATIENCE_S, stack.explain)
    one = WorldAtWork(stack.serving_url)
    one.start()
    yield one
    one.stop()


@pytest.fixture
def engine(stack: Up) -> Iterator[Engine]:
    """The platform's database, to look at."""
    one = make_engine(stack.database_url)
    yield one
    one.dispose()


# checks every few seconds, Evidently and two trainings take all that two cores have: not beside other tests
@pytest.mark.slow
@pytest.mark.timeout(1_500)
def test_a_changed_world_is_recovered_from_unattended(stack: Up, world: WorldAtWork, engine: Engine) -> None:
    """Drift and bad answers are alerted, the retrained version passes its gates and is promoted, all is well again."""
    checks, alerts = Checks(engine), Alerts(engine)

    def newest() -> DriftCheck | None:
        return next(iter(checks.newest(MODEL)), None)

    def well(version: int) -> bool:
        found = newest()
        if found is None or found.report is None or found.report.version != version:
            return False
        both = found.report.verdict, found.report.performance_verdict
        return both == (DriftVerdict.OK, DriftVerdict.OK) and found.report.performance["roc_auc"] > GOOD

    def firing() -> set[str]:
        return {one.kind for one in alerts.find(MODEL, firing=True)}

    def explain() -> str:
        return (
            f"{newest()}\n{Retrainings(engine).find(MODEL)}\n{_promotions(engine)}\n{world.failed}\n{stack.explain()}"
        )

    wait_until(lambda: well(1), PATIENCE_S, explain)
    assert alerts.find(MODEL) == []
    assert Retrainings(engine).find(MODEL) == []

    world.changed = True
    wait_until(lambda: firing() == {"drift", "performance"}, PATIENCE_S, explain)

    def done() -> Retraining | None:
        # one that learnt from rows of both worlds may be refused by the gates; the next one is not
        promoted = {one.version for one in _promotions(engine) if one.state is PromotionState.PROMOTED}
        return next((one for one in Retrainings(engine).find(MODEL) if one.version in promoted), None)

    wait_until(done, PATIENCE_S, explain)
    one = done()
    assert one is not None
    assert one.version is not None
    assert one.state is RetrainingState.DONE
    assert one.trigger is Trigger.METRIC
    [promotion] = [each for each in _promotions(engine) if each.version == one.version]
    assert promotion.report is not None
    assert (promotion.report["verdict"], promotion.champion_version) == ("passed", 1)
    wait_until(lambda: well(int(one.version or 0)) and not firing(), PATIENCE_S, explain)
    told = alerts.find(MODEL)
    assert {each.kind for each in told} == {"drift", "performance"}
    assert {each.state for each in told} == {AlertState.RESOLVED}
    assert world.failed == []


def _promotions(engine: Engine) -> list[Promotion]:
    return list(SqlPromotions(engine, owner="test", lease_s=1).find(MODEL))


def _write(file: Path, text: str) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
