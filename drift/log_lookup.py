"""One logged request, found by its id: the index names the few segments that may hold it.

Queries over many requests: `log_view.py`.
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from drift.log_view import shown_names
from mlflow_ext.domain.privacy import is_hash
from mlflow_ext.domain.segments import Segment
from mlflow_ext.errors import NotFoundError, UnavailableError
from mlflow_ext.policy import PrivacyPolicy
from mlflow_ext.store.segment_files import INPUT, META, OUTPUT, ROLE, reading
from mlflow_ext.store.segment_storage import located
from mlflow_ext.store.segments import Segments


def look_up(
    index: Segments, request_id: str, privacy_of: Callable[[str], PrivacyPolicy], model: str | None = None
) -> list[dict[str, Any]]:
    """Find the rows of a request.

    Args:
        index: Where segments are.
        request_id: As it was answered in `X-Request-Id`.
        privacy_of: What policy withholds of a model.
        model: Registered model; `None` looks at all.

    Returns:
        A dict for each row: `model`, `version`, `request_id`, `row`, `received_at`, `arm`, `latency_us`, `share`, and
        under `inputs` and `outputs` what was asked and answered.

    Raises:
        NotFoundError: No segment holds it.
        UnavailableError: A segment or the index cannot be read.
    """
    rows = reading(
        lambda: index.holding(request_id, model),
        lambda found: [row for one in found for row in _rows(one, request_id, privacy_of(one.model))],
    )
    if not rows:
        raise NotFoundError(
            f"no request {request_id} is logged; one that just came is there some seconds later, and a log with "
            "`prediction_log.mode: sampled` or `keep_s` does not hold all"
        )
    return sorted(rows, key=lambda row: (row["model"], row["received_at"], row["row"]))


def _rows(segment: Segment, request_id: str, privacy: PrivacyPolicy) -> list[dict[str, Any]]:
    try:
        system, path = located(segment.uri)
        with system.open_input_file(path) as file:
            table = _matching(pq.ParquetFile(file), request_id)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowInvalid) as exc:
        raise UnavailableError(f"segment {segment.uri} cannot be read: {exc}") from exc
    names = shown_names(table.schema)
    found = []
    for values in table.to_pylist():
        row: dict[str, Any] = {"model": segment.model, "version": segment.version, "inputs": {}, "outputs": {}}
        for one in table.schema:
            shown, own = names[one.name]
            role = (one.metadata or {}).get(ROLE, META)
            value = values[one.name]
            if role == META:
                row[shown] = value
            elif own not in privacy.drop:
                hidden = own in privacy.hash and not is_hash(value)
                row[{INPUT: "inputs", OUTPUT: "outputs"}[role]][own] = None if hidden else value
        found.append(row)
    return found


def _matching(file: pq.ParquetFile, request_id: str) -> pa.Table:
    """Read the ids first, and the other columns of the row groups that hold the request."""
    groups = []
    for number in range(file.num_row_groups):
        ids = file.read_row_group(number, columns=["request_id"]).column("request_id")
        if pc.any(pc.equal(ids, request_id)).as_py():
            groups.append(number)
    table = file.read_row_groups(groups)
    return table.filter(ds.field("request_id") == request_id)
