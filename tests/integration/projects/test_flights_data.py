"""The flights are what README.md and the issue of the data say they are."""

import numpy as np
import pandas as pd
import pytest
from flights import data

KNOWN_AFTER_DEPARTURE = ["dep_time", "dep_delay", "arr_time", "air_time"]


def test_every_flight_is_read_and_those_without_an_arrival_are_left_out(year: pd.DataFrame) -> None:
    """336,776 flights left New York; 9,430 have no arrival delay."""
    assert len(data.read_table("flights.csv.zip")) == 336_776
    assert len(year) == 336_776 - 9_430


@pytest.mark.parametrize(("month", "share"), [(1, 0.23), (7, 0.31), (9, 0.13), (12, 0.33)])
def test_the_share_of_late_flights_turns_over_the_year(year: pd.DataFrame, month: int, share: float) -> None:
    """23 % late in January, 31 % in July, 13 % in September, 33 % in December."""
    assert round(year.loc[year["date"].dt.month == month, data.TARGET].mean(), 2) == share


def test_features_are_few_typed_and_hold_no_date(year: pd.DataFrame) -> None:
    """14 columns, strings without gaps and float64, and nothing that tells the day."""
    assert list(year.columns) == [*data.FEATURES, "date", data.TARGET]
    assert len(data.FEATURES) == 14
    assert not {"year", "month", "day", "date", "time_hour"} & set(data.FEATURES)
    for column in data.CATEGORIES:
        assert year[column].map(type).eq(str).all()
    assert set(year[data.NUMBERS].dtypes) == {np.dtype("float64")}
    assert year["temp"].isna().mean() < 0.01
    assert 0.1 < year["seats"].isna().mean() < 0.2


def test_what_is_known_only_after_departure_changes_no_feature() -> None:
    """Whatever happens to a flight after its doors close, its features stay the same."""
    flights = data.read_table("flights.csv.zip").head(20_000)
    weather, planes = data.read_table("weather.csv"), data.read_table("planes.csv")
    random = np.random.default_rng(0)
    otherwise = flights.assign(**{column: random.permutation(flights[column]) for column in KNOWN_AFTER_DEPARTURE})
    otherwise["arr_delay"] = flights["arr_delay"] * random.choice([-1, 1], len(flights))
    expected, got = (data.assemble(rows, weather, planes)[data.FEATURES] for rows in (flights, otherwise))
    pd.testing.assert_frame_equal(got, expected)


def test_the_weather_is_that_of_the_scheduled_hour_at_the_origin(year: pd.DataFrame) -> None:
    """The first flight (UA 1545, Newark, 5:15 on 1 January) has the weather of Newark between 5 and 6."""
    first = year.iloc[0]
    weather = data.read_table("weather.csv").set_index(["origin", "time_hour"])
    assert (first["origin"], first["dest"], first["sched_dep_minute"]) == ("EWR", "IAH", 5 * 60 + 15)
    assert first["temp"] == weather.loc[("EWR", "2013-01-01T10:00:00Z"), "temp"]


def test_flights_are_in_the_order_in_which_they_were_scheduled(year: pd.DataFrame) -> None:
    """Days rise, and minutes rise within a day."""
    clock = year["date"] + pd.to_timedelta(year["sched_dep_minute"], unit="min")
    assert clock.is_monotonic_increasing


def test_a_sample_keeps_the_order_and_repeats_with_its_seed(year: pd.DataFrame) -> None:
    """The same seed draws the same rows, in time order; 0 draws all."""
    drawn = data.sample(year, 1_000, seed=7)
    assert len(drawn) == 1_000
    assert drawn["date"].is_monotonic_increasing
    pd.testing.assert_frame_equal(drawn, data.sample(year, 1_000, seed=7))
    assert data.sample(year, 0, seed=7) is year
