"""The `RequestLog` port: the newest rows that clients were answered for, in memory and from real segments."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from drift.rows import merged, typed_rows
from drift.segment_files import write_segment
from mlflow_ext.domain.segments import Segment
from mlflow_ext.errors import MissingEvidenceError
from mlflow_ext.gate_context import LoggedRequests, RequestLog
from mlflow_ext.registry.requests_file import read_requests, write_requests
from mlflow_ext.registry.scoring_protocol import ModelColumns
from mlflow_ext.spool import PredictionRecord
from mlflow_ext.store.logged_requests import SegmentRequests
from mlflow_ext.store.request_filter import filter_of
from mlflow_ext.store.segments import Segments
from mlflow_ext.testing import MemoryRequests

SINCE = datetime(2026, 3, 1, 8, tzinfo=UTC)
COUNT = 30
Log = Callable[[str], RequestLog]


def record(number: int, *, arm: str = "champion", version: int = 1) -> PredictionRecord:
    """The request of that second, with one row."""
    body = {"dataframe_split": {"columns": ["x", "word"], "data": [[float(number), f"w{number}"]]}}
    return PredictionRecord(
        request_id=f"{arm}-{number}",
        model="wine",
        version=version,
        at=SINCE + timedelta(seconds=number),
        latency_us=900,
        content_type="application/json",
        request=json.dumps(body).encode(),
        response=json.dumps({"predictions": [number * 2.0]}).encode(),
        arm=arm,
    )


@pytest.fixture(params=["twin", "segments"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> RequestLog:
    """30 requests of 30 seconds, answered by versions 1 and 2 in turn; a shadow saw the last ones too."""
    if request.param == "twin":
        newest = range(COUNT)[::-1]
        meta = pd.DataFrame(
            {
                "request_id": [f"champion-{n}" for n in newest],
                "row": 0,
                "at": [SINCE + timedelta(seconds=n) for n in newest],
                "version": [1 + n % 2 for n in newest],
            }
        )
        inputs = pd.DataFrame({"x": [float(n) for n in newest], "word": [f"w{n}" for n in newest]})
        return MemoryRequests({"wine": LoggedRequests(meta, inputs, pd.DataFrame({"prediction": inputs["x"] * 2}))})
    index = Segments(request.getfixturevalue("engine"))
    columns = ModelColumns({"x": "double", "word": "string"})
    # three processes whose files overlap in time, and one that saw the earliest ones only
    for part, numbers in enumerate([range(10, 30, 2), range(11, 30, 2), range(10), ()]):
        version = 1 + part % 2 if part < 2 else None
        records = [record(n, version=version or 1 + n % 2) for n in numbers]
        shadows = [record(n, arm="shadow", version=3) for n in range(25, 30)] if part == 3 else []
        for one in {each.version for each in [*records, *shadows]}:
            mine = [each for each in [*records, *shadows] if each.version == one]
            tables, refused = typed_rows(mine, columns)
            assert refused == []
            uri = str(tmp_path / f"{part}-{one}.parquet")
            size = write_segment(uri, merged(tables))
            segment = Segment("wine", one, SINCE, uri, len(mine), size, mine[0].at, mine[-1].at)
            ids = filter_of(each.request_id for each in mine)
            index.commit(f"spool-{part}-{one}", seen=0, offset=1, added={segment: ids}, replaced=[])
    return SegmentRequests(request.getfixturevalue("engine"))


@pytest.mark.parametrize("rows", [1, 7, 25, 30, 1_000])
def test_the_newest_rows_come_first(log: RequestLog, rows: int) -> None:
    """Exactly the newest, whichever file holds them and whichever version answered; no shadow's."""
    found = log.newest("wine", rows)
    newest = list(range(COUNT)[::-1][:rows])
    assert found.meta["request_id"].tolist() == [f"champion-{n}" for n in newest]
    assert found.inputs.to_dict("list") == {"x": [float(n) for n in newest], "word": [f"w{n}" for n in newest]}
    assert found.answers["prediction"].tolist() == [2.0 * n for n in newest]
    assert found.meta["version"].tolist() == [1 + n % 2 for n in newest]
    assert found.meta["at"].tolist() == [SINCE + timedelta(seconds=n) for n in newest]
    assert len(found) == min(rows, COUNT)


def test_a_model_without_requests_says_so(log: RequestLog) -> None:
    """Nothing is logged: no frame without rows."""
    with pytest.raises(MissingEvidenceError, match="no request to beer is logged"):
        log.newest("beer", 10)


def test_they_come_through_files_unchanged(log: RequestLog, tmp_path: Path) -> None:
    """What the evaluation process reads is what was exported."""
    found = log.newest("wine", 9)
    again = read_requests(json.loads(json.dumps(write_requests(found, tmp_path))))
    pd.testing.assert_frame_equal(again.inputs, found.inputs)
    assert again.meta.to_dict("list") == found.meta.to_dict("list")
    with pytest.raises(MissingEvidenceError, match="nothing there"):
        read_requests({"missing": "nothing there"})
