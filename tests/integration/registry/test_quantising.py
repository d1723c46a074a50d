"""8-bit twins of real models: smaller, nearly as good by their own gate's word, and never served where they are not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlflow_ext.domain.twins import JudgedTwin, TwinFacts, TwinRefusedError
from mlflow_ext.registry.plain_table import plain_columns, type_names
from mlflow_ext.registry.twins.making import make_twin
from mlflow_ext.registry.twins.quantising import Quantised, quantise_twin
from mlflow_ext.registry.twins.session import TwinSession
from tests.integration.serving.fitted import Fitted, signature
from tests.integration.serving.twin_models import saved

TARGET = "target"
DIGITS, DIGIT = load_digits(return_X_y=True, as_frame=True)
CELLS, ILL = load_breast_cancer(return_X_y=True, as_frame=True)


def served(model: Any, rows: pd.DataFrame, target: pd.Series, into: Path) -> tuple[Any, bytes, pd.DataFrame]:
    """Fit on one half, save and convert; gives MLflow's model, its twin, and the other half as evaluation rows."""
    model.fit(rows[::2], target[::2])
    predictor = saved(Fitted(model, rows, signature(rows), "onnx"), into / "model")
    return predictor, make_twin(predictor, 1e-9).content, rows.assign(**{TARGET: target})[1::2]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, bytes, pd.DataFrame]:
    """A network that reads digits."""
    model = make_pipeline(StandardScaler(), MLPClassifier((128, 64), max_iter=60, random_state=0, tol=1e-2))
    return served(model, DIGITS, DIGIT, tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def small(network: tuple[Any, bytes, pd.DataFrame]) -> Quantised:
    """Its quantised twin."""
    return quantise_twin(*network, TARGET, 0.01)


def test_a_network_shrinks_and_stays_nearly_as_good(network: tuple[Any, bytes, pd.DataFrame], small: Quantised) -> None:
    """An eighth of the size and a bit, and by the measures on rows that gave no scales, within the bound."""
    facts = small.facts
    assert facts.size_bytes == len(small.content) < len(network[1]) / 4
    assert facts.rows + facts.calibration_rows == len(network[2])
    assert facts.unquantised["accuracy"] > 0.9
    for measure, before in facts.unquantised.items():
        assert before - facts.quantised[measure] <= 0.01
    assert facts.changed < 0.02
    assert set(facts.quantised_us) == {"1", "64"}


def test_what_is_kept_is_read_again(small: Quantised) -> None:
    """Its facts go through JSON; reports of before there were quantised twins are read too."""
    judged = JudgedTwin(TwinFacts("0", 1, "double", 1, 0.0), 1e-9, quantised=small.facts, quantised_artifact="t")
    document = json.loads(json.dumps(judged.as_dict()))
    assert JudgedTwin.from_dict(document) == judged
    older = {key: value for key, value in document.items() if not key.startswith("quantised")}
    assert JudgedTwin.from_dict(older) == replace(judged, quantised=None, quantised_artifact=None)


def test_a_row_is_answered_alike_whatever_stands_beside_it(
    network: tuple[Any, bytes, pd.DataFrame], small: Quantised
) -> None:
    """Scales are fixed: alone or among others, a row's scores are the same, so requests may be computed together."""
    columns = plain_columns(network[0].metadata.get_input_schema())
    assert columns is not None
    session = TwinSession(small.content, type_names(columns), {}, quantised=True)
    rows = list(network[2].drop(columns=TARGET).head(200).itertuples(index=False, name=None))
    alone = np.concatenate([session.scores([row]) for row in rows])
    assert np.allclose(session.scores(rows), alone, atol=1e-6)
    assert (session.answers(rows) == np.concatenate([session.answers([row]) for row in rows])).all()


def test_a_bound_that_nothing_keeps(network: tuple[Any, bytes, pd.DataFrame], small: Quantised) -> None:
    """What loses more than policy allows is refused with the measure; the recorded one is judged by a new bound too."""
    worse = replace(small.facts, quantised={**small.facts.quantised, "macro_recall": 0.5})
    assert "macro_recall falls" in str(worse.refusal(0.01))
    assert small.facts.refusal(0.01) is None
    assert str(replace(small.facts, quantised={"accuracy": float("nan"), "macro_recall": 1.0}).refusal(0.2))
    with pytest.raises(TwinRefusedError, match="too few"):
        quantise_twin(network[0], network[1], network[2].head(50), TARGET, 0.01)


def test_columns_of_different_sizes(tmp_path: Path) -> None:
    """Without a scaler one column's size takes all 8 bits: such a twin is refused by its measures, not by its form."""
    model = make_pipeline(StandardScaler(), MLPClassifier((64,), max_iter=100, random_state=0, tol=1e-2))
    model.fit(CELLS[::2], ILL[::2])
    # the same network, with what the scaler does in its first layer
    scaler, net = model[0], model[1]
    net.coefs_[0] = net.coefs_[0] / scaler.scale_[:, None]
    net.intercepts_[0] = net.intercepts_[0] - scaler.mean_ @ net.coefs_[0]
    net.feature_names_in_ = scaler.feature_names_in_
    predictor = saved(Fitted(net, CELLS, signature(CELLS), "onnx"), tmp_path / "model")
    content = make_twin(predictor, 1e-9).content
    with pytest.raises(TwinRefusedError, match=r"falls from 0\.9.* quantise_loss"):
        quantise_twin(predictor, content, CELLS.assign(**{TARGET: ILL})[1::2], TARGET, 0.01)


def test_numbers(tmp_path: Path) -> None:
    """A regressor is judged by R²."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.normal(size=(1_200, 20)), columns=[f"c{number}" for number in range(20)])
    value = rows.c0 * 3 + np.sin(rows.c1) - rows.c2 * rows.c3
    model = make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=(128, 64), max_iter=60, random_state=0, tol=1e-2)
    )
    predictor, content, evaluation = served(model, rows, value, tmp_path)
    facts = quantise_twin(predictor, content, evaluation, TARGET, 0.02).facts
    assert facts.unquantised["r2"] - 0.02 <= facts.quantised["r2"]
    assert 0 < facts.changed < 1
    with pytest.raises(TwinRefusedError, match="r2 falls"):
        quantise_twin(predictor, content, evaluation, TARGET, 0.0)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (GradientBoostingClassifier(n_estimators=5, random_state=0), "nothing to quantise"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "nothing is gained"),
    ],
    ids=["trees", "thirty coefficients"],
)
def test_nothing_to_gain(model: Any, reason: str, tmp_path: Path) -> None:
    """Trees have no matrix, and a few coefficients take less room than the scales do: both say so."""
    predictor, content, evaluation = served(model, CELLS, ILL, tmp_path)
    with pytest.raises(TwinRefusedError, match=reason):
        quantise_twin(predictor, content, evaluation, TARGET, 0.01)
