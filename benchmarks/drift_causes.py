"""Why a window of the flights of 2013 drifted: the root cause as a check finds it, from samples and hourly counts.

The windows themselves, and their verdicts: `drift_flights.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import BytesIO
from typing import TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from drift.causes.hours import hours_of
from drift.causes.root_cause import Evidence, root_cause_of
from drift.engine.counting import count_file
from drift.engine.profile import ReferenceProfile
from drift.engine.rules import Rules
from drift.engine.statistics import Key, WindowStatistics
from mlflow_ext.domain.drift import ColumnDrift
from mlflow_ext.domain.root_cause import RootCause

T = TypeVar("T")


def counted(profile: ReferenceProfile, rows: pd.DataFrame) -> WindowStatistics:
    """Count rows by a profile, as a check counts a segment."""
    file = BytesIO()
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), file)
    file.seek(0)
    return count_file(file, profile, kinds)


def kinds(schema: pa.Schema) -> dict[str, Key]:
    """Mark inputs and the prediction."""
    return {name: ("prediction" if name == "prediction" else "data", name) for name in schema.names}


@dataclass
class HourlyCounts:
    """The flights by the hour of their scheduled departure: what a log keeps of its segments.

    Attributes:
        rows: The flights with inputs and predictions, by hour (UTC).
        since: Beginning of the window that is looked at.
        until: Its end.
    """

    rows: dict[datetime, pd.DataFrame]
    since: datetime
    until: datetime
    _counts: dict[datetime, WindowStatistics] = field(default_factory=dict)

    @classmethod
    def of(cls, flights: pd.DataFrame, columns: Sequence[str]) -> "HourlyCounts":
        """Put the flights into hours; those that depart in the hour that the clocks leave out stand an hour later."""
        local = flights["date"] + pd.to_timedelta(flights["sched_dep_minute"] // 60, unit="h")
        at = local.dt.tz_localize("America/New_York", ambiguous=True, nonexistent="shift_forward").dt.tz_convert("UTC")
        rows = {hour.to_pydatetime(): some[[*columns]] for hour, some in flights.groupby(at)}
        return cls(rows, min(rows), max(rows))

    def kept_hours(
        self, profile: ReferenceProfile, look_back: timedelta, take: Callable[[WindowStatistics], T]
    ) -> list[tuple[datetime, T]]:
        """Give what is wanted of the hours of the window and of those before it."""
        found = []
        for hour, some in self.rows.items():
            if self.since - look_back <= hour < self.until:
                if hour not in self._counts:
                    self._counts[hour] = counted(profile, some)
                found.append((hour, take(self._counts[hour])))
        return found


def cause(
    columns: Sequence[ColumnDrift],
    reference: pd.DataFrame,
    window: pd.DataFrame,
    whole: WindowStatistics,
    profile: ReferenceProfile,
    hours: HourlyCounts,
) -> RootCause:
    """Give the root cause of a window.

    Args:
        columns: What was judged.
        reference: Sample of the reference's inputs and predictions.
        window: The window's.
        whole: Statistics of all its rows.
        profile: The reference.
        hours: The flights by hour, with the window's ends.
    """
    drifted = [one.column for one in columns if one.drifted and one.kind == "data"]
    course = hours_of(hours, profile, whole, drifted)
    inputs, outputs = window.drop(columns="prediction"), window[["prediction"]]
    return root_cause_of(Evidence(columns, reference, inputs, outputs, course, Rules()))
