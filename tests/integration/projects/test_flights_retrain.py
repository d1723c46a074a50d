"""Learning again from what production saw: it pays, it keeps time apart, and it refuses what cannot teach."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from flights import data, retrain
from flights.model import build
from sklearn.metrics import roc_auc_score


@pytest.fixture(scope="module")
def july(year: pd.DataFrame) -> pd.DataFrame:
    """What the platform exports: some flights of May to July in order, with their outcomes."""
    rows = data.between(year, pd.Timestamp("2013-05-01"), pd.Timestamp("2013-07-31"))
    return data.sample(rows, 6_000, 0)[[*data.FEATURES, data.TARGET]]


def test_the_newest_share_is_held_out(july: pd.DataFrame) -> None:
    """No row is lost, and all rows to judge by come after all rows to learn from."""
    learned, evaluation = retrain.split(july, 0.25)
    assert (len(learned), len(evaluation)) == (4_500, 1_500)
    pd.testing.assert_frame_equal(pd.concat([learned, evaluation], ignore_index=True), july)


def test_recent_rows_beat_a_model_that_only_knows_winter(year: pd.DataFrame, july: pd.DataFrame) -> None:
    """On the newest rows of July the retrained model is better than the winter's by 0.02 of ROC AUC."""
    winter = data.between(year, pd.Timestamp("2013-01-01"), pd.Timestamp("2013-02-28"))
    learned, evaluation = retrain.split(july, 0.25)
    history = data.sample(winter, 20_000, 0)
    both = pd.concat([history, learned])
    weight = np.repeat([1.0, 3.0], [len(history), len(learned)])
    champion = build("good", 100, 0).fit(winter[data.FEATURES], winter[data.TARGET])
    candidate = build("good", 100, 0).fit(both[data.FEATURES], both[data.TARGET], classifier__sample_weight=weight)
    before, after = (
        roc_auc_score(evaluation[data.TARGET], model.predict_proba(evaluation[data.FEATURES])[:, 1])
        for model in (champion, candidate)
    )
    assert after > before + 0.02


def test_rows_without_an_outcome_and_columns_of_others_are_left_out(july: pd.DataFrame, tmp_path: Path) -> None:
    """Outcomes not known yet are skipped; what the platform adds to the rows is ignored."""
    rows = july.head(400).astype({data.TARGET: "float64"}).assign(request_id="r")
    rows.loc[rows.index[::4], data.TARGET] = None
    rows.to_parquet(tmp_path / "recent.parquet")
    read = retrain.read_recent(tmp_path / "recent.parquet")
    assert list(read.columns) == [*data.FEATURES, data.TARGET]
    assert len(read) == 300
    assert read[data.TARGET].dtype == "int64"


@pytest.mark.parametrize("fault", ["few", "column", "one outcome"])
def test_a_file_that_cannot_teach_is_refused(july: pd.DataFrame, tmp_path: Path, fault: str) -> None:
    """Too few outcomes, a missing column, or only one outcome: exit code 2 and a sentence that says so."""
    rows, reason = {
        "few": (july.head(150), "at least 200"),
        "column": (july.drop(columns="temp"), "lacks the columns temp"),
        "one outcome": (july[july[data.TARGET] == 0], "only one outcome"),
    }[fault]
    rows.to_parquet(tmp_path / "recent.parquet")
    result = CliRunner().invoke(retrain.main, ["--recent", str(tmp_path / "recent.parquet")])
    assert result.exit_code == 2
    assert reason in " ".join(result.output.replace("\u2502", " ").split())
