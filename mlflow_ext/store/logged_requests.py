"""The `RequestLog` port on segments: what clients sent lately, and what they were answered.

Requests that are still in a spool are not seen until the drift scheduler has put them into a segment.
"""

import pandas as pd
from sqlalchemy import Engine

from mlflow_ext.domain.segments import Segment
from mlflow_ext.errors import MissingEvidenceError, UnavailableError
from mlflow_ext.gate_context import LoggedRequests
from mlflow_ext.store.segment_files import INPUT, META, OUTPUT, part, read_segment
from mlflow_ext.store.segments import Segments

_TRIES = 3


class SegmentRequests:
    """Reads the newest segments of a model."""

    def __init__(self, engine: Engine) -> None:
        """Take the database that holds the index of segments."""
        self._index = Segments(engine)

    def newest(self, model: str, rows: int) -> LoggedRequests:
        """Give the newest rows that clients were answered for, newest first; shadow arms answered no client."""
        for _ in range(_TRIES):
            try:
                found = _read(self._index.newest(model), rows)
            except FileNotFoundError:
                # merged between the look at the index and now: the index already names the new file
                continue
            if len(found) == 0:
                raise MissingEvidenceError(
                    f"no request to {model} is logged (`mlflow-ext drift schedule` takes them from the spool)"
                )
            return found
        raise UnavailableError(f"segments of {model} are gone although the index names them")


def _read(segments: list[Segment], rows: int) -> LoggedRequests:
    frames: list[tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]] = []
    times = pd.Series(dtype="datetime64[us, UTC]")
    for segment in segments:
        # segments of several processes overlap in time: stop only when no older file can hold one of the newest rows
        if len(times) >= rows and segment.last_at < times.nlargest(rows).iloc[-1]:
            break
        table = read_segment(segment.uri)
        meta, inputs, answers = (part(table, role) for role in (META, INPUT, OUTPUT))
        answered = meta["arm"] == "champion"
        meta["version"] = segment.version
        frames.append((meta[answered], inputs[answered], answers[answered]))
        times = pd.concat([times, meta.loc[answered, "at"]]) if len(times) else meta.loc[answered, "at"]
    if not frames:
        return LoggedRequests(pd.DataFrame(), pd.DataFrame(), pd.DataFrame())
    meta, inputs, answers = (pd.concat(some, ignore_index=True) for some in zip(*frames, strict=True))
    order = meta.sort_values(["at", "request_id", "row"], ascending=[False, True, True], kind="stable").index[:rows]
    return LoggedRequests(
        meta.loc[order, ["request_id", "row", "at", "version"]].reset_index(drop=True),
        inputs.loc[order].reset_index(drop=True),
        answers.loc[order].reset_index(drop=True),
    )
