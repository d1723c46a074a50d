"""Regressors' performance without labels, where it can be known: data whose errors depend on what is known."""

import numpy as np
import pandas as pd
import pytest

from drift.estimates.estimate import Estimate, estimate
from drift.performance import realised

METRICS = ("mean_absolute_error", "root_mean_squared_error")
INPUTS = ["size", "noise", "region"]


def world(count: int, seed: int, *, centre: float = 0.0, concept: float = 0.0) -> pd.DataFrame:
    """Rows of a model that errs more where `size` is large; `centre` moves it, `concept` what comes true."""
    random = np.random.default_rng(seed)
    size, noise = random.normal(centre, 1, count), random.normal(0, 1, count)
    region = random.choice(["north", "south", "west"], count)
    answer = 2 * size + noise
    error = np.exp(0.4 * size) * random.normal(0, 1, count) + 0.2 * size**2 + (region == "west") + concept
    return pd.DataFrame(
        {"size": size, "noise": noise, "region": region, "prediction": answer, "target": answer + error}
    )


def expected(reference: pd.DataFrame, window: pd.DataFrame) -> Estimate:
    """Estimate a window, without its labels."""
    return estimate(reference, window[INPUTS], window[["prediction"]], "target", "regressor")


@pytest.mark.parametrize("centre", [0.0, 0.8, -0.8])
def test_where_only_inputs_move_the_estimate_holds_what_came_true(centre: float) -> None:
    """On windows and references drawn afresh nearly all realised metrics lie in their intervals."""
    inside = []
    for seed in range(2, 7):
        window = world(1_500, seed, centre=centre)
        found = expected(world(4_000, 100 + seed), window)
        assert found.note == ""
        true = realised(window[["prediction"]], window["target"], "regressor")
        for name in METRICS:
            low, high = found.metrics[f"{name}_low"], found.metrics[f"{name}_high"]
            assert low <= found.metrics[name] <= high
            inside.append(low <= true[name] <= high)
    assert np.mean(inside) > 0.8


def test_moved_inputs_change_what_is_expected() -> None:
    """Where larger errors are at home more of them are expected: the reference's own error would be far off."""
    reference = world(4_000, 1)
    known = realised(reference[["prediction"]], reference["target"], "regressor")["mean_absolute_error"]
    window = world(1_500, 2, centre=1.0)
    true = realised(window[["prediction"]], window["target"], "regressor")["mean_absolute_error"]
    found = expected(reference, window).metrics["mean_absolute_error"]
    assert true > 1.3 * known
    assert found == pytest.approx(true, rel=0.08)


def test_few_labels_make_wide_intervals() -> None:
    """What little the reference says shows in the interval."""
    window = world(1_500, 2)
    widths = [
        found.metrics[f"{METRICS[0]}_high"] - found.metrics[f"{METRICS[0]}_low"]
        for found in (expected(world(rows, 1), window) for rows in (400, 4_000))
    ]
    assert widths[0] > 1.5 * widths[1]


def test_a_changed_concept_is_not_seen() -> None:
    """Other outcomes of the same inputs change nothing: that takes labels."""
    reference, window, changed = world(1_000, 1), world(500, 3), world(500, 3, concept=5.0)
    assert expected(reference, window) == expected(reference, changed)


def test_an_answer_alone_is_enough() -> None:
    """Inputs that are withheld leave the answer itself to learn from."""
    reference, window = world(1_000, 1), world(500, 2)
    found = estimate(reference, window[[]], window[["prediction"]], "target", "regressor")
    assert found.note == ""
    assert set(found.metrics) == {f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")}


def test_a_model_without_errors_is_expected_to_make_none() -> None:
    """No logarithm of 0."""
    exact = world(500, 1).assign(target=lambda one: one["prediction"])
    assert set(expected(exact, exact).metrics.values()) == {0.0}


@pytest.mark.parametrize(
    ("reference", "window", "why"),
    [
        (world(500, 1).drop(columns="target"), world(500, 2), "no labels"),
        (world(500, 1).rename(columns={"prediction": "prediction_0"}), world(500, 2), "not one number"),
        (world(200, 1), world(500, 2), "fewer than 300 rows"),
        (world(500, 1).assign(target="long"), world(500, 2), "fewer than 300 rows"),
        (world(500, 1), world(500, 2).assign(prediction=np.nan), "no answers that are numbers"),
        (world(500, 1), world(500, 2, centre=9.0), "beyond what the reference holds, in size"),
        (world(2_000, 1), world(1_500, 2, centre=2.8), "are worth"),
    ],
)
def test_where_it_is_not_possible_it_says_why(reference: pd.DataFrame, window: pd.DataFrame, why: str) -> None:
    """Never a number that nothing stands behind, as for inputs that the reference does not hold."""
    found = expected(reference, window)
    assert why in found.note
    assert found.metrics == {}
