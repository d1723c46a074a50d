"""Learning on: a version of the variant `online` learns from recent rows alone, and what comes of it is registered."""

from pathlib import Path

import mlflow
import pandas as pd
import pytest
from click.testing import CliRunner
from flights import data, learn_on, train
from flights.model import build
from flights.model import learn_on as learn
from mlflow import MlflowClient
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline

NAME = "flights-online"


@pytest.fixture(scope="module")
def july(year: pd.DataFrame) -> pd.DataFrame:
    """Some flights of May to July in order, with their outcomes."""
    rows = data.between(year, pd.Timestamp("2013-05-01"), pd.Timestamp("2013-07-31"))
    return data.sample(rows, 6_000, 0)[[*data.FEATURES, data.TARGET]].reset_index(drop=True)


def auc(pipeline: Pipeline, rows: pd.DataFrame) -> float:
    """Measure."""
    return float(roc_auc_score(rows[data.TARGET], pipeline.predict_proba(rows[data.FEATURES])[:, 1]))


def test_learning_on_is_better_than_staying(year: pd.DataFrame, july: pd.DataFrame) -> None:
    """A model of the winter gains 0.03 of ROC AUC on the newest flights by passing once over those before them."""
    winter = data.between(year, pd.Timestamp("2013-01-01"), pd.Timestamp("2013-02-18"))
    pipeline = build("online", 1, 0).fit(winter[data.FEATURES], winter[data.TARGET])
    before = auc(pipeline, july.tail(1_500))
    learn(pipeline, july.head(4_500)[data.FEATURES], july.head(4_500)[data.TARGET])
    assert auc(pipeline, july.tail(1_500)) > before + 0.03


def test_boosting_cannot_learn_on(year: pd.DataFrame, july: pd.DataFrame) -> None:
    """The reason says what to train instead."""
    pipeline = build("weak", 1, 0).fit(july[data.FEATURES], july[data.TARGET])
    with pytest.raises(ValueError, match="variant=online"):
        learn(pipeline, july[data.FEATURES], july[data.TARGET])


def test_the_entry_point(mlflow_url: str, july: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in Production learns on and becomes the next version; without one that can, it says so."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    mlflow.set_tracking_uri(mlflow_url)
    client = MlflowClient(mlflow_url)
    july.to_parquet(tmp_path / "recent.parquet")

    def run(command: object, *arguments: str) -> str:
        done = CliRunner().invoke(command, [*arguments, "--model-name", NAME])  # type: ignore[arg-type]
        return done.output

    recent = ("--recent", str(tmp_path / "recent.parquet"))
    assert '"version": 1' in run(train.main, "--variant", "weak", "--rows", "3000")
    client.set_registered_model_alias(NAME, "production", "1")
    assert "cannot learn on" in run(learn_on.main, *recent)
    assert '"version": 2' in run(train.main, "--variant", "online", "--rows", "3000")
    client.set_registered_model_alias(NAME, "production", "2")
    assert '"version": 3' in run(learn_on.main, *recent)
    found = {number: client.get_model_version(NAME, number).run_id for number in ("2", "3")}
    before, after = (mlflow.sklearn.load_model(f"models:/{NAME}/{number}") for number in found)
    assert auc(after, july.tail(1_500)) > auc(before, july.tail(1_500)) + 0.03
    assert client.get_run(str(found["3"])).data.metrics["evaluation_rows"] == 1_500
