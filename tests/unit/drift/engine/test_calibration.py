"""Error rates on data made afresh, at every size of the calibration table; a seed other than the benchmark's."""

import pytest

from benchmarks.drift_calibration import DRIFT, LEAST_FOUND, MOST_FALSE, NO_DRIFT, Setting, run

SEED = 31


def named(setting: Setting) -> str:
    """Name a test."""
    return f"{setting.reference}-{setting.window}-{setting.columns}-{setting.shift:g}"


@pytest.mark.slow
@pytest.mark.parametrize("setting", NO_DRIFT, ids=named)
def test_false_alarms_stay_below_two_in_a_hundred(setting: Setting) -> None:
    """With 10, 50 and 200 columns, whatever the sizes of reference and window."""
    windows = 400 if setting.columns == 10 else 100
    assert run(setting, windows, 0, SEED)["any"] <= MOST_FALSE * windows


@pytest.mark.slow
@pytest.mark.parametrize("setting", [one for one in DRIFT if one.required], ids=named)
def test_a_small_shift_of_one_of_ten_columns_is_found(setting: Setting) -> None:
    """In at least 95 of 100 windows."""
    assert run(setting, 100, 0, SEED)["found"] >= LEAST_FOUND * 100
