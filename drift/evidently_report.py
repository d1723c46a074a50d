"""Evidently: the comparison of prepared columns and the report that people read. The only file that imports it.

Importing it takes some 5 s and 250 MB, so that happens in the worker process, when the first check comes. What may be
compared is decided before, in `columns.py`; what the numbers mean after, in `verdict.py`.
"""

import gzip
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

# before the import: it decides then whether to report home
os.environ["DO_NOT_TRACK"] = "1"

import pandas as pd

with warnings.catch_warnings():
    # what it says about its own use of NumPy and pydantic is not for our users
    warnings.simplefilter("ignore")
    from evidently import DataDefinition, Dataset, Report
    from evidently.core.report import Snapshot
    from evidently.metrics import DriftedColumnsCount, ValueDrift

from drift.columns import Comparable
from mlflow_ext.domain.drift import ColumnDrift

_log = logging.getLogger(__name__)

SMALL = 1_000
"""With fewer rows than this on either side, distances between samples of one distribution are large: tests are used."""
ALPHA = 0.05
"""Chance that any column of a window without drift is called drifted by a test (divided by the number of columns)."""
DISTANCE = 0.1
"""Distance from which on a column counts as drifted, in the method's own unit."""
P_VALUES = frozenset({"ks", "chisquare", "z"})


def compare(columns: Sequence[Comparable], *, drift_share: float, title: str) -> tuple[list[ColumnDrift], bytes | None]:
    """Compare columns, all in one report.

    Args:
        columns: What to compare; at least one value on each side.
        drift_share: Share of drifted columns that Evidently's own dataset line is told.
        title: Heading of the report.

    Returns:
        One entry a column, in the given order; and the report as a snapshot for `render`, `None` when no column could
        be compared.
    """
    kept = list(columns)
    failed: dict[int, str] = {}
    while kept:
        try:
            scores, snapshot = _run(kept, drift_share, title)
        except Exception as exc:  # Evidently raises whatever its calculations meet
            bad = _bad_columns(kept, drift_share)
            if not bad:
                raise
            _log.warning("drift.column_failed columns=%s reason=%s", sorted(bad), exc)
            failed |= {id(one): bad[one.name] for one in kept if one.name in bad}
            kept = [one for one in kept if one.name not in bad]
        else:
            found = {id(one): _drift(one, len(kept), score) for one, score in zip(kept, scores, strict=True)}
            return [found.get(id(one)) or _failed(one, failed[id(one)]) for one in columns], snapshot
    return [_failed(one, failed[id(one)]) for one in columns], None


def render(snapshot: bytes) -> tuple[str, str]:
    """Turn a snapshot into its HTML page (self-contained) and its JSON document."""
    report = Snapshot.loads(gzip.decompress(snapshot).decode())
    with tempfile.TemporaryDirectory() as scratch:
        page = Path(scratch, "report.html")
        # a Path would write nothing
        report.save_html(str(page))
        return page.read_text(encoding="utf-8"), report.json()


def method_of(column: Comparable) -> str:
    """Choose the method: tests where a side is small, distances where tests would find every trifle."""
    small = min(len(column.reference), len(column.current)) < SMALL
    if not column.categorical:
        return "ks" if small else "wasserstein"
    if not small:
        return "jensenshannon"
    levels = set(column.reference.unique()) | set(column.current.unique())
    return "z" if len(levels) <= 2 else "chisquare"


def _threshold(method: str, columns: int) -> float:
    return ALPHA / columns if method in P_VALUES else DISTANCE


def _run(columns: Sequence[Comparable], drift_share: float, title: str) -> tuple[list[float], bytes]:
    names = _names(columns)
    methods = {name: method_of(one) for name, one in zip(names, columns, strict=True)}
    thresholds = {name: _threshold(method, len(columns)) for name, method in methods.items()}
    definition = DataDefinition(
        numerical_columns=[name for name, one in zip(names, columns, strict=True) if not one.categorical],
        categorical_columns=[name for name, one in zip(names, columns, strict=True) if one.categorical],
    )
    reference = pd.DataFrame({name: one.reference for name, one in zip(names, columns, strict=True)})
    current = pd.DataFrame({name: one.current for name, one in zip(names, columns, strict=True)})
    inputs = [name for name, one in zip(names, columns, strict=True) if one.kind == "data"]
    summary = DriftedColumnsCount(
        columns=inputs or names, drift_share=drift_share, per_column_method=methods, per_column_threshold=thresholds
    )
    drifts = [ValueDrift(column=name, method=methods[name], threshold=thresholds[name]) for name in names]
    with warnings.catch_warnings():
        # its calculations warn about empty bins and divisions by zero, which we have prepared for
        warnings.simplefilter("ignore")
        snapshot = Report([summary, *drifts]).run(
            Dataset.from_pandas(current, data_definition=definition),
            Dataset.from_pandas(reference, data_definition=definition),
            name=title,
        )
        values = {metric["config"].get("column"): metric["value"] for metric in snapshot.dict()["metrics"]}
        return [float(values[name]) for name in names], gzip.compress(snapshot.dumps().encode(), 6)


def _bad_columns(columns: Sequence[Comparable], drift_share: float) -> dict[str, str]:
    bad: dict[str, str] = {}
    for one in columns:
        try:
            _run([one], drift_share, one.name)
        except Exception as exc:  # see compare
            bad[one.name] = f"{type(exc).__name__}: {exc}"[:200]
    return bad


def _names(columns: Sequence[Comparable]) -> list[str]:
    """Give each column a name of its own; an input called like an output gets its kind in front."""
    outputs = {one.name for one in columns if one.kind == "prediction"}
    return [f"input {one.name}" if one.kind == "data" and one.name in outputs else one.name for one in columns]


def _drift(column: Comparable, columns: int, score: float) -> ColumnDrift:
    method = method_of(column)
    threshold = _threshold(method, columns)
    # a distance that cannot be computed, because a side is constant, is told by the values themselves
    if math.isnan(score):
        drifted = set(column.reference.unique()) != set(column.current.unique())
        return ColumnDrift(column.name, column.kind, method, 1.0 if drifted else 0.0, threshold, drifted, "constant")
    drifted = score < threshold if method in P_VALUES else score >= threshold
    return ColumnDrift(column.name, column.kind, method, score, threshold, drifted)


def _failed(column: Comparable, reason: str) -> ColumnDrift:
    return ColumnDrift(column.name, column.kind, "not_compared", None, None, False, reason)
