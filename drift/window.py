"""A window of the prediction log as statistics: whole segments from what is kept of them, the rest counted now.

Counting is `engine/counting.py`'s business; rows for reports are drawn in `sampling.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from drift.engine.counting import RowFilter, count_file
from drift.engine.profile import ReferenceProfile
from drift.engine.profiling import NameOf
from drift.engine.statistics import Key, WindowStatistics, merged
from drift.rows import AT
from mlflow_ext.domain.drift import Window
from mlflow_ext.domain.sampling import is_kept
from mlflow_ext.domain.segments import Segment
from mlflow_ext.store.partials import Partials
from mlflow_ext.store.segment_files import INPUT, NAME, OUTPUT, ROLE, open_segment, reading
from mlflow_ext.store.segments import Segments

T = TypeVar("T")
MOST_KEPT = 1_500
"""Kept segments that are looked at hour by hour."""
_AT_ONCE = 100
NOTHING = ReferenceProfile("", 0, {})
"""A profile that counts no column: rows only."""


@dataclass(frozen=True)
class WindowLog:
    """The logged rows of one version in one window.

    Attributes:
        index: Which segments there are.
        partials: What is kept of them.
        model: Registered model.
        version: Its version.
        window: Which rows.
    """

    index: Segments
    partials: Partials
    model: str
    version: int
    window: Window

    def statistics(self, profile: ReferenceProfile, hashes: Mapping[str, NameOf]) -> WindowStatistics:
        """Count the window by a profile.

        Raises:
            UnavailableError: A segment, or PostgreSQL, cannot be read.
        """
        return self._reading(partial(self._count, profile, hashes))

    def thinned(self, profile: ReferenceProfile, hashes: Mapping[str, NameOf], share: float) -> WindowStatistics:
        """Count the rows that a log sampled by `share` would hold: so no hour outweighs another.

        What a smaller share keeps is a subset of what a larger one keeps.
        """
        rows = rows_of(self.window, share)
        return self._reading(
            lambda segments: merged(
                count_file(open_segment(one.uri), profile, columns_of, rows=rows, hashes=hashes) for one in segments
            )
        )

    def kept_hours(
        self, profile: ReferenceProfile, look_back: timedelta, take: Callable[[WindowStatistics], T]
    ) -> list[tuple[datetime, T]]:
        """Give what is kept of the window's segments and of those before it; what was never counted is left out.

        Args:
            profile: What they were counted by.
            look_back: How far before the window.
            take: What is wanted of each segment's statistics; only this stays in memory.

        Returns:
            Hour and what was taken, one a segment, the newest `MOST_KEPT` of them.

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        window = self.window
        found = self.index.find(self.model, self.version, window.since - look_back, window.until)
        whole = [one for one in found if one.last_at < window.until][-MOST_KEPT:]
        taken: list[tuple[datetime, T]] = []
        for begin in range(0, len(whole), _AT_ONCE):
            some = whole[begin : begin + _AT_ONCE]
            kept = self.partials.get(profile.id, [one.uri for one in some])
            statistics = ((one.hour, kept[one.uri]) for one in some if one.uri in kept)
            taken += [(hour, take(WindowStatistics.from_bytes(content))) for hour, content in statistics]
        return taken

    def segments(self) -> list[Segment]:
        """Give the segments that may hold rows of the window, by time."""
        return self.index.find(self.model, self.version, self.window.since, self.window.until)

    def _count(
        self, profile: ReferenceProfile, hashes: Mapping[str, NameOf], segments: list[Segment]
    ) -> WindowStatistics:
        whole = [one for one in segments if self.window.since <= one.first_at and one.last_at < self.window.until]
        kept = self.partials.get(profile.id, [one.uri for one in whole]) if profile.columns else {}
        fresh: dict[str, bytes] = {}
        total = WindowStatistics()
        for one in segments:
            if one.uri in kept:
                total += WindowStatistics.from_bytes(kept[one.uri])
                continue
            rows = None if one in whole else rows_of(self.window)
            found = count_file(open_segment(one.uri), profile, columns_of, rows=rows, hashes=hashes)
            if one in whole and profile.columns:
                fresh[one.uri] = found.to_bytes()
            total += found
        if fresh:
            self.partials.put(profile.id, fresh)
        return total

    def _reading(self, read: Callable[[list[Segment]], T]) -> T:
        return reading(self.segments, read)


def columns_of(schema: pa.Schema) -> dict[str, Key]:
    """Tell a segment's inputs and outputs by their marks."""
    kinds: dict[bytes, Any] = {INPUT: "data", OUTPUT: "prediction"}
    return {
        one.name: (kinds[one.metadata[ROLE]], one.metadata[NAME].decode())
        for one in schema
        if (one.metadata or {}).get(ROLE) in kinds
    }


def rows_of(window: Window, share: float | None = None) -> RowFilter:
    """Keep the rows of a window, and of these what a log sampled by `share` would hold."""
    since, until = pa.scalar(window.since, AT), pa.scalar(window.until, AT)

    def keep(table: pa.Table) -> pa.Array:
        at = table.column("at")
        kept = pc.and_(pc.greater_equal(at, since), pc.less(at, until))
        if share is not None:
            ids = [is_kept(one, share) for one in table.column("request_id").to_pylist()]
            kept = pc.and_(kept, pa.chunked_array([pa.array(ids, pa.bool_())]))
        return kept

    return RowFilter(("at",) if share is None else ("at", "request_id"), keep)
