"""Methods: the numbers that SciPy gives on the same rows, from counts alone."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from drift.engine.methods import (
    cardinality,
    chi_square,
    entropy,
    hellinger,
    jensen_shannon,
    kolmogorov_smirnov,
    kullback_leibler,
    missing,
    moments,
    psi,
    rank_sum,
    wasserstein,
)
from drift.engine.methods.choice import measures
from tests.unit.drift.engine.tables import pair

RNG = np.random.default_rng(11)
NUMBERS = {
    "same": (RNG.normal(size=5_000), RNG.normal(size=2_000)),
    "shifted": (RNG.normal(size=5_000), RNG.normal(0.3, 1.2, 2_000)),
    "long tails": (RNG.lognormal(0, 1, 5_000), RNG.lognormal(0.2, 1, 3_000)),
    "very long tails": (RNG.lognormal(0, 3, 5_000), RNG.lognormal(0.3, 3, 3_000)),
    "whole": (RNG.poisson(30, 5_000), RNG.poisson(31, 2_000)),
    "many zeros": (
        RNG.exponential(size=5_000) * (RNG.random(5_000) < 0.4),
        RNG.exponential(size=900) * (RNG.random(900) < 0.5),
    ),
}
numbers = pytest.mark.parametrize("name", NUMBERS)


@numbers
def test_kolmogorov_smirnov_is_scipys(name: str) -> None:
    """The statistic to 0.003 (what the bins' edges miss), the chance to a tenth of itself at the same statistic."""
    reference, window = NUMBERS[name]
    found = kolmogorov_smirnov.measure(pair(reference, window))
    expected = stats.ks_2samp(reference, window, method="asymp")
    assert found.value == pytest.approx(expected.statistic, abs=0.003)
    size = len(reference) * len(window) / (len(reference) + len(window))
    assert found.p_value == pytest.approx(stats.kstwo.sf(found.value, round(size)), rel=0.1, abs=1e-12)


@numbers
def test_the_rank_sum_is_scipys(name: str) -> None:
    """Statistic to 1e-3; the chance within 5 % on a logarithmic scale."""
    reference, window = NUMBERS[name]
    found = rank_sum.measure(pair(reference, window))
    expected = stats.mannwhitneyu(window, reference, method="asymptotic")
    assert found.value == pytest.approx(expected.statistic / len(reference) / len(window), abs=1e-3)
    assert found.p_value is not None
    assert np.log(found.p_value) == pytest.approx(np.log(expected.pvalue), rel=0.05, abs=0.1)


@numbers
def test_wasserstein_is_scipys(name: str) -> None:
    """To 0.01 standard deviations, where the bins reach as far as the values do."""
    reference, window = NUMBERS[name]
    if "very" in name:
        # a distance that a few largest values decide, which count as the bins' ends
        return
    found = wasserstein.measure(pair(reference, window))
    expected = stats.wasserstein_distance(reference, window) / np.std(reference, ddof=1)
    assert found.value == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("columns", ["numbers", "categories"])
def test_divergences_are_scipys(columns: str) -> None:
    """PSI, Kullback-Leibler, Jensen-Shannon and Hellinger on the same shares, chi-square on the same table."""
    if columns == "numbers":
        both = pair(*NUMBERS["shifted"])
    else:
        both = pair(RNG.choice(list("abcde"), 5_000), RNG.choice(list("abcde"), 900, p=[0.3, 0.2, 0.2, 0.2, 0.1]))
    p, q = both.pooled[0] / both.n, both.pooled[1] / both.m
    assert kullback_leibler.measure(both).value == pytest.approx(stats.entropy(q, p))
    assert psi.measure(both).value == pytest.approx(stats.entropy(q, p) + stats.entropy(p, q))
    assert jensen_shannon.measure(both).value == pytest.approx(jensenshannon(p, q, base=2))
    assert hellinger.measure(both).value == pytest.approx(np.sqrt(1 - np.sqrt(p * q).sum()))
    found = chi_square.measure(both)
    expected = stats.chi2_contingency(np.array(both.pooled), correction=False)
    assert (found.value, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    there, here = entropy.measure(both)
    assert here - there < 0
    assert there == pytest.approx(np.log2(10 if columns == "numbers" else 5), abs=0.01)


@pytest.mark.parametrize("counts", [(0, 300, 4, 100), (5, 5_000, 30, 900), (900, 1_000, 700, 1_000), (0, 10, 0, 10)])
def test_missing_values_are_judged_exactly(counts: tuple[int, int, int, int]) -> None:
    """As Fisher's exact test does, one tail doubled."""
    there, n, here, m = counts
    table = [[here, m - here], [there, n - there]]
    sides = [stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
    assert missing.exact(there, n, here, m) == pytest.approx(min(1.0, 2 * min(sides)))
    assert missing.exact(200_000, 10**6, 200_500, 10**6) == pytest.approx(
        stats.chi2_contingency([[200_000, 800_000], [200_500, 799_500]]).pvalue, rel=1e-3
    )


@pytest.mark.parametrize(
    ("method", "size"),
    [(psi, 1_000), (kullback_leibler, 1_000), (jensen_shannon, 1_000), (hellinger, 1_000), (wasserstein, 300)],
)
def test_every_method_has_its_null(method: object, size: int) -> None:
    """Without drift, a chance of at most 10 % comes in about one of ten windows, whichever the method."""
    rng = np.random.default_rng(17)
    chances = [
        method.measure(pair(rng.normal(size=4 * size), rng.normal(size=size))).p_value  # type: ignore[attr-defined]
        for _ in range(150)
    ]
    assert 0.03 < np.mean([chance <= 0.1 for chance in chances]) < 0.18


def test_new_and_vanished_levels_are_named() -> None:
    """New ones by name and share; one that a window of this size could well have missed has not vanished."""
    reference = ["a"] * 500 + ["b"] * 400 + ["c"] * 99 + ["rare"]
    found = cardinality.measure(pair(reference, ["a"] * 100 + ["b"] * 60 + ["x"] * 30 + ["y"] * 10))
    assert found is not None
    assert (found.new, found.new_share, found.vanished, found.different) == (("x", "y"), 0.2, ("c",), 4)


def test_every_number_is_finite_and_named_by_its_kind() -> None:
    """An input's PSI is its CSI; a constant column gives no infinity."""
    both = pair([1.5] * 100, [1.5] * 50 + [np.inf] * 5)
    found = measures(both, "data")
    assert "csi" in found
    assert "psi" in measures(both, "prediction")
    assert all(np.isfinite(value) for value in found.values())
    assert moments.out_of_range(both) == pytest.approx(5 / 55)
