"""Evidently: the report that people read, with its own verdict by its own rules. The only file that imports it.

Importing it takes some 5 s and 250 MB, so that happens in the worker process, when the first check comes. What may be
compared is decided before, in `columns.py`. Our verdict comes from elsewhere: `engine/verdict.py`.
"""

import gzip
import logging
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

_log = logging.getLogger(__name__)

SMALL = 1_000
"""Evidently's own rule: tests for a reference of at most so many rows, distances for a larger one."""
ALPHA = 0.05
"""Evidently's own level, of each column by itself."""
DISTANCE = 0.1
"""Evidently's own distance from which on a column counts as drifted, in the method's own unit."""
SHARE = 0.5
"""Evidently's own share of drifted columns that makes a dataset drift."""
P_VALUES = frozenset({"ks", "chisquare", "z"})


def compare(columns: Sequence[Comparable], *, title: str) -> tuple[dict[str, float], bytes | None]:
    """Compare columns by Evidently's defaults, all in one report.

    Args:
        columns: What to compare; at least one value on each side.
        title: Heading of the report.

    Returns:
        Its verdict: `columns`, `drifted_columns`, `share` and `drift` (0 or 1); and the report as a snapshot for
        `render`. Nothing and `None` when no column could be compared.
    """
    kept = list(columns)
    while kept:
        try:
            scores, snapshot = _run(kept, title)
        except Exception as exc:  # Evidently raises whatever its calculations meet
            bad = _bad_columns(kept)
            if not bad:
                raise
            _log.warning("drift.column_failed columns=%s reason=%s", sorted(bad), exc)
            kept = [one for one in kept if one.name not in bad]
        else:
            drifted = sum(_drifted(one, score) for one, score in zip(kept, scores, strict=True))
            share = drifted / len(kept)
            verdict = {
                "columns": float(len(kept)),
                "drifted_columns": float(drifted),
                "share": share,
                "drift": float(share >= SHARE),
            }
            return verdict, snapshot
    return {}, None


def render(snapshot: bytes) -> tuple[str, str]:
    """Turn a snapshot into its HTML page (self-contained) and its JSON document."""
    report = Snapshot.loads(gzip.decompress(snapshot).decode())
    with tempfile.TemporaryDirectory() as scratch:
        page = Path(scratch, "report.html")
        # a Path would write nothing
        report.save_html(str(page))
        return page.read_text(encoding="utf-8"), report.json()


def method_of(column: Comparable) -> str:
    """Choose the method that Evidently's preset would choose."""
    small = len(column.reference) <= SMALL
    if not column.categorical:
        return "ks" if small else "wasserstein"
    if not small:
        return "jensenshannon"
    levels = set(column.reference.unique()) | set(column.current.unique())
    return "z" if len(levels) <= 2 else "chisquare"


def _threshold(method: str) -> float:
    return ALPHA if method in P_VALUES else DISTANCE


def _run(columns: Sequence[Comparable], title: str) -> tuple[list[float], bytes]:
    names = _names(columns)
    methods = {name: method_of(one) for name, one in zip(names, columns, strict=True)}
    thresholds = {name: _threshold(method) for name, method in methods.items()}
    definition = DataDefinition(
        numerical_columns=[name for name, one in zip(names, columns, strict=True) if not one.categorical],
        categorical_columns=[name for name, one in zip(names, columns, strict=True) if one.categorical],
    )
    reference = pd.DataFrame({name: one.reference for name, one in zip(names, columns, strict=True)})
    current = pd.DataFrame({name: one.current for name, one in zip(names, columns, strict=True)})
    summary = DriftedColumnsCount(
        columns=names, drift_share=SHARE, per_column_method=methods, per_column_threshold=thresholds
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


def _bad_columns(columns: Sequence[Comparable]) -> set[str]:
    bad: set[str] = set()
    for one in columns:
        try:
            _run([one], one.name)
        except Exception as exc:  # see compare
            _log.warning("drift.column_failed column=%s reason=%s", one.name, f"{type(exc).__name__}: {exc}"[:200])
            bad.add(one.name)
    return bad


def _names(columns: Sequence[Comparable]) -> list[str]:
    """Give each column a name of its own; an input called like an output gets its kind in front."""
    outputs = {one.name for one in columns if one.kind == "prediction"}
    return [f"input {one.name}" if one.kind == "data" and one.name in outputs else one.name for one in columns]


def _drifted(column: Comparable, score: float) -> bool:
    method = method_of(column)
    return score < _threshold(method) if method in P_VALUES else score >= _threshold(method)
