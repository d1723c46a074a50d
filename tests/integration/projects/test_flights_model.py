"""The pipelines deserve their names, and are saved so that they load without trusting anybody."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from flights import data
from flights.model import SKOPS_TYPES, Variant, build
from flights.train import shuffled
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline

from mlflow_ext.registry.trusted_types import TRUSTED_TYPES


@pytest.fixture(scope="module")
def winter(year: pd.DataFrame) -> pd.DataFrame:
    """The days that `train` learns from by default."""
    return data.between(year, pd.Timestamp("2013-1-1"), pd.Timestamp("2013-2-18"))


@pytest.fixture(scope="module")
def later(year: pd.DataFrame) -> pd.DataFrame:
    """The days that `train` evaluates on by default."""
    return data.between(year, pd.Timestamp("2013-2-19"), pd.Timestamp("2013-2-28"))


def fitted(variant: Variant, rows: pd.DataFrame, *, noise: float = 0.0, seed: int = 0) -> Pipeline:
    """Fit as `train` does."""
    return build(variant, 100, seed).fit(rows[data.FEATURES], shuffled(rows[data.TARGET].to_numpy(), noise, seed))


def auc(pipeline: Pipeline, rows: pd.DataFrame) -> float:
    """Measure on rows that were not learned."""
    return float(roc_auc_score(rows[data.TARGET], pipeline.predict_proba(rows[data.FEATURES])[:, 1]))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("count", [0, 20_000])
def test_the_weak_variant_is_worse_on_the_same_rows(
    winter: pd.DataFrame, later: pd.DataFrame, seed: int, count: int
) -> None:
    """By at least 0.04 of ROC AUC, with any seed and sample size."""
    rows = data.sample(winter, count, seed)
    good, weak = (auc(fitted(variant, rows, seed=seed), later) for variant in ("good", "weak"))
    assert good > 0.64
    assert good - weak > 0.04


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shuffled_labels_make_a_model_that_knows_nothing(winter: pd.DataFrame, later: pd.DataFrame, seed: int) -> None:
    """The demo's bad candidate stays far below any gate and below the weak variant."""
    bad = auc(fitted("good", winter, noise=1.0, seed=seed), later)
    assert bad < 0.56
    assert bad < auc(fitted("weak", winter, seed=seed), later)


def test_label_noise_shuffles_its_share_and_keeps_the_rate(winter: pd.DataFrame) -> None:
    """As many labels are 1 as before, and the others are untouched."""
    labels = winter[data.TARGET].to_numpy()
    half = shuffled(labels, 0.5, 0)
    assert half.sum() == labels.sum()
    assert 0.1 < np.mean(half != labels) < 0.25
    assert np.array_equal(shuffled(labels, 0.0, 0), labels)


@pytest.mark.parametrize("variant", ["weak", "good"])
def test_unknown_airports_and_missing_numbers_are_answered(variant: Variant, winter: pd.DataFrame) -> None:
    """A category never seen and a row without any number still get a probability."""
    strange = winter.head(2)[data.FEATURES].assign(dest="XXX", carrier="ZZ", origin="HPN")
    strange[data.NUMBERS] = np.nan
    answers = fitted(variant, data.sample(winter, 2_000, 0)).predict_proba(strange)
    assert answers.shape == (2, 2)
    assert np.isfinite(answers).all()


@pytest.mark.parametrize("variant", ["weak", "good"])
def test_only_the_named_types_need_trust(variant: Variant, winter: pd.DataFrame, tmp_path: Path) -> None:
    """Loading asks about nothing but `SKOPS_TYPES`, and the platform trusts those."""
    file = tmp_path / "model.skops"
    skops.io.dump(fitted(variant, data.sample(winter, 2_000, 0)), file)
    assert set(skops.io.get_untrusted_types(file=file)) <= set(SKOPS_TYPES) <= set(TRUSTED_TYPES)
