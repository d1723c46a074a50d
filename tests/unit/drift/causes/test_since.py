"""The hour since which a column drifts."""

import numpy as np
import pytest

from drift.causes.since import Found, course_of
from mlflow_ext.domain.root_cause import Course

GROUPS = 10


def series(
    rng: np.random.Generator,
    hours: int,
    begin: int | None,
    *,
    shift: float = 1.2,
    cycle: float = 0.0,
    ramp: bool = False,
) -> np.ndarray:
    """Counts of hours with some hundred rows each, which differ by more than chance; drifted from `begin` on."""
    counts = np.zeros((hours, GROUPS))
    for hour in range(hours):
        share = hour / hours if ramp else float(begin is None or hour >= begin)
        tilt = shift * share + cycle * np.sin(2 * np.pi * hour / 24)
        shares = np.exp(np.linspace(-1, 1, GROUPS) * tilt + rng.normal(0, 0.1, GROUPS))
        counts[hour] = rng.multinomial(rng.poisson(100) + 1, shares / shares.sum())
    return counts


def found(rng: np.random.Generator, counts: np.ndarray, columns: int = 3) -> Found:
    """The answer against a reference in which all groups are alike."""
    reference = rng.multinomial(20_000, np.full(GROUPS, 1 / GROUPS)).astype(float)
    return course_of(reference, counts.sum(axis=0), counts, np.arange(len(counts)) + 5.0, columns=columns)


def near(seed: int, hours: int) -> bool:
    """Whether a planted change is found within one hour."""
    rng = np.random.default_rng(seed)
    begin = int(rng.integers(1, hours))
    one = found(rng, series(rng, hours, begin))
    return one.course is Course.SINCE and one.place is not None and abs(one.place - begin) <= 1


def none_named(seed: int, hours: int, cycle: float) -> bool:
    """Whether no hour is named when all hours drifted alike, but for the time of day."""
    rng = np.random.default_rng(seed)
    return found(rng, series(rng, hours, None, shift=0.6, cycle=cycle)).place is None


@pytest.mark.parametrize("hours", [48, 168])
def test_a_planted_change_is_found_within_an_hour(hours: int) -> None:
    """In at least 95 % of seeded trials, wherever it was."""
    trials = [near(seed, hours) for seed in range(100)]
    assert np.mean(trials) >= 0.95


@pytest.mark.parametrize(("hours", "cycle"), [(6, 0.0), (24, 0.0), (24, 0.5), (72, 0.0), (72, 0.5), (168, 0.5)])
def test_no_hour_is_named_where_nothing_changed(hours: int, cycle: float) -> None:
    """In at least 95 % of seeded trials, also with a cycle of the day that one day shows once only."""
    trials = [none_named(1_000 + seed, hours, cycle) for seed in range(100)]
    assert np.mean(trials) >= 0.95


def weather(seed: int, hours: int) -> bool:
    """Whether no hour is named when hours resemble those before them, as weather does, around a drift without begin."""
    rng = np.random.default_rng(seed)
    state, counts = 0.0, np.zeros((hours, GROUPS))
    for hour in range(hours):
        state = 0.9 * state + rng.normal(0, 0.2)
        shares = np.exp(np.linspace(-1, 1, GROUPS) * (0.6 + state))
        counts[hour] = rng.multinomial(100, shares / shares.sum())
    return found(rng, counts).place is None


def test_hours_that_resemble_each_other_are_little_evidence() -> None:
    """In what goes slowly up and down by itself an hour is named in some of ten weeks; it would be in most of them."""
    assert np.mean([weather(2_000 + seed, 168) for seed in range(100)]) >= 0.85


@pytest.mark.slow
@pytest.mark.parametrize("hours", [48, 96, 168, 336])
def test_the_rates_hold_over_many_trials(hours: int) -> None:
    """Found within an hour in at least 95 %, named without a change in at most 5 %, of a thousand each."""
    assert np.mean([near(10_000 + seed, hours) for seed in range(1_000)]) >= 0.95
    assert np.mean([none_named(20_000 + seed, hours, 0.3) for seed in range(1_000)]) >= 0.95


def test_a_slow_change_has_no_hour() -> None:
    """A drift that grows over a week is told as gradual."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert found(rng, series(rng, 168, None, ramp=True)).course is Course.GRADUALLY


def test_a_drift_that_ended_is_told_by_its_end() -> None:
    """The first hours drifted, the later ones are as the reference."""
    rng = np.random.default_rng(5)
    counts = np.concatenate([series(rng, 40, None, shift=1.5), series(rng, 30, 40)])
    one = found(rng, counts)
    assert one.course is Course.UNTIL
    assert one.place is not None
    assert abs(one.place - 40) <= 1


def test_what_was_there_before_is_no_beginning() -> None:
    """A drift that only grew at one hour did not begin there."""
    rng = np.random.default_rng(6)
    counts = np.concatenate([series(rng, 48, None, shift=1.0), series(rng, 48, None, shift=1.3)])
    assert found(rng, counts).course is Course.THROUGHOUT


def test_distances_go_from_reference_to_window() -> None:
    """About 0 before a change, more than 1 after it (the window holds both); hours without rows have none."""
    rng = np.random.default_rng(7)
    counts = series(rng, 60, 30)
    counts[10] = 0
    one = found(rng, counts)
    assert np.isnan(one.distances[10])
    assert np.nanmean(one.distances[:30]) == pytest.approx(0, abs=0.1)
    assert np.nanmean(one.distances[30:]) > 1.2
    assert one.before == pytest.approx(0, abs=0.1)


def test_too_few_hours_say_nothing() -> None:
    """Two hours, or hours with next to no rows."""
    rng = np.random.default_rng(8)
    assert found(rng, series(rng, 2, 1)).course is Course.UNKNOWN
    assert found(rng, np.ones((20, GROUPS)) * 0.3).course is Course.UNKNOWN
