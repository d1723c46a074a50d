"""How long logged predictions are kept: by age and by size, as policy says. The rule: `mlflow_ext/domain/retention.py`.

What it takes out of the index's sight, the compactor removes a little later, as it does with merged files.
"""

import logging
from collections.abc import Callable
from datetime import timedelta

from mlflow_ext.domain.retention import expired
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.store.segments import Segments

_log = logging.getLogger(__name__)

EVERY_S = 60.0


def retire(index: Segments, policy_of: Callable[[str], ModelPolicy]) -> int:
    """Retire every model's segments that are too old or too many, and give their number.

    What stays whatever the bounds say: the last `drift.window_s` and `prediction_log.feedback_wait_s` seconds, and the
    windows of checks and retrainings that have not ended.

    Raises:
        UnavailableError: PostgreSQL does not answer.
    """
    now, needed = index.now(), index.needed_since()
    count = 0
    for model, stored in index.stored().items():
        policy = policy_of(model)
        log = policy.prediction_log
        if log.keep_s is None and log.keep_bytes is None:
            continue
        recent = now - timedelta(seconds=max(log.feedback_wait_s, policy.drift.window_s))
        found = expired(
            stored,
            now,
            keep_s=log.keep_s,
            keep_bytes=log.keep_bytes,
            needed_since=min(recent, needed.get(model, recent)),
        )
        if found.segments:
            index.retire([one.uri for one in found.segments])
            rows = sum(one.rows for one in found.segments)
            size = sum(one.size_bytes for one in found.segments)
            _log.info("segments.retired model=%s files=%d rows=%d bytes=%d", model, len(found.segments), rows, size)
        if found.over_bytes:
            _log.warning("segments.over model=%s bytes=%d reason=windows still need them", model, found.over_bytes)
        count += len(found.segments)
    return count
