"""What a sampled or redacted prediction log means for a check: how many rows came, which columns can be compared.

How the log is written is the business of `serving/prediction_log.py`; the comparison that of `columns.py`.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd

from drift.segment_files import WindowRows
from mlflow_ext.domain.drift import ColumnDrift
from mlflow_ext.domain.privacy import KeyedHash, is_hash
from mlflow_ext.domain.sampling import is_kept
from mlflow_ext.policy import PrivacyPolicy


def estimated_rows(rows: WindowRows) -> int:
    """Estimate how many rows came, from the logged ones: each stands for as many as its share left out."""
    return round(float((1.0 / _shares(rows)).sum()))


def evenly_sampled(rows: WindowRows) -> WindowRows:
    """Bring a window whose log was sampled by several shares to the smallest of them.

    Otherwise the hours that were logged in full would outweigh the others. What a smaller share keeps is a subset of
    what a larger one keeps, so this gives the rows that the smallest share alone would have logged.
    """
    shares = _shares(rows)
    if len(rows) == 0 or shares.min() == shares.max():
        return rows
    kept = rows.meta["request_id"].map(lambda request_id: is_kept(request_id, float(shares.min())))
    return WindowRows(rows.meta[kept], rows.inputs[kept], rows.outputs[kept])


def without_personal_data(
    reference: pd.DataFrame, inputs: pd.DataFrame, policy: PrivacyPolicy, keyed_hash: KeyedHash | None
) -> tuple[pd.DataFrame, pd.DataFrame, list[ColumnDrift]]:
    """Make reference and window alike where the log holds hashes, and leave out what it does not hold.

    Args:
        reference: Reference rows, as they were trained on.
        inputs: The window's inputs, as they were logged.
        policy: Which columns are dropped.
        keyed_hash: What the log was hashed with.

    Returns:
        Reference, inputs, and an entry for each column that cannot be compared for the sake of privacy.
    """
    hashed = [name for name in inputs.columns if _holds_hashes(inputs[name])]
    dropped = [name for name in policy.drop if name in inputs.columns or name in reference.columns]
    notes = [_left_out(name, "dropped before it was logged (policy privacy.drop)") for name in dropped]
    gone = set(dropped)
    if hashed and keyed_hash is None:
        gone |= set(hashed)
        notes += [_left_out(name, "hashed, and the setting privacy_key is not set here") for name in hashed]
        hashed = []
    there, here = reference.copy(deep=False), inputs.drop(columns=[name for name in gone if name in inputs.columns])
    for name in [name for name in hashed if name not in gone]:
        like_logged = _like_logged(keyed_hash.of(name)) if keyed_hash is not None else str
        # before the policy changed its values were logged as they are
        here[name] = here[name].astype(object).map(like_logged, na_action="ignore")
        if name in there.columns:
            there[name] = there[name].astype(object).map(like_logged, na_action="ignore")
    return there, here, notes


def _shares(rows: WindowRows) -> "pd.Series[float]":
    """Give each row's share; segments from before there was one hold everything."""
    if "share" not in rows.meta:
        return pd.Series(1.0, index=rows.meta.index)
    return rows.meta["share"].astype(float).fillna(1.0)


def _holds_hashes(values: "pd.Series[Any]") -> bool:
    return not pd.api.types.is_numeric_dtype(values) and bool(values.map(is_hash).any())


def _like_logged(hashed: Callable[[Any], str | None]) -> Callable[[Any], Any]:
    return lambda value: value if is_hash(value) else hashed(value)


def _left_out(name: str, note: str) -> ColumnDrift:
    return ColumnDrift(name, "data", "not_compared", None, None, False, note)
