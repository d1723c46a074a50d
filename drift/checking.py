"""A due check, run under its lease: claim, wait for the compactor, compute, store; and what follows when that fails.

What a check does is `job.py`; how its result reaches MLflow is `delivery.py`.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from drift.job import run_check
from drift.skew import run_skew
from drift.sources import Sources
from mlflow_ext.domain.drift import CheckKind, CheckState, DriftCheck, DriftVerdict
from mlflow_ext.errors import ConflictError, MlflowExtError, UnavailableError
from mlflow_ext.spool import MAGIC, spool_files
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.segments import Segments

_log = logging.getLogger(__name__)

MOST_CRASHES = 5
"""A check whose worker died this often is given up: it would take every worker with it."""


def check_next(checks: Checks, sources: Sources, catch_up: Callable[[], bool]) -> bool:
    """Claim and run one check, holding its lease; False when none is due.

    Args:
        checks: The checks.
        sources: What a check reads.
        catch_up: Waits until the predictions so far are in segments; False when they are not.

    Raises:
        UnavailableError: PostgreSQL does not answer.
    """
    check = checks.claim()
    if check is None:
        return False
    _log.info("drift.begins check=%d model=%s slot=%s attempt=%d", check.id, check.model, check.slot, check.attempt)
    with checks.lease.held(check.id, check.attempt):
        try:
            _run_or_put_back(check, checks, sources, catch_up)
        except ConflictError as exc:
            # another worker has taken it over: its word counts
            _log.warning("drift.lost check=%d reason=%s", check.id, exc)
    return True


def _run_or_put_back(check: DriftCheck, checks: Checks, sources: Sources, catch_up: Callable[[], bool]) -> None:
    try:
        _run(check, checks, sources, catch_up)
    except ConflictError:
        raise
    except UnavailableError as exc:
        wait_s = check.retry_after_s
        _log.warning("drift.waits check=%d wait_s=%.0f reason=%s", check.id, wait_s, exc)
        checks.postpone(check, CheckState.DUE, str(exc), wait_s)
    except MlflowExtError as exc:
        _log.warning("drift.failed check=%d model=%s reason=%s", check.id, check.model, exc)
        checks.fail(check, str(exc))
    except Exception as exc:  # a defect that one model's data meets must not stop the checks of the others
        _log.exception("drift.crashed check=%d model=%s", check.id, check.model)
        checks.fail(check, f"{type(exc).__name__}: {exc}"[:1000])


def caught_up(index: Segments, spool_dir: Path, timeout_s: float) -> bool:
    """Wait until everything that is in the spool now is in segments; False when that takes too long."""
    wanted = {path: size for path in spool_files(spool_dir) if (size := _size(path)) > len(MAGIC)}
    end = time.monotonic() + timeout_s
    while wanted := {path: size for path, size in wanted.items() if _size(path) and index.offset(path.name) < size}:
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _run(check: DriftCheck, checks: Checks, sources: Sources, catch_up: Callable[[], bool]) -> None:
    if check.attempt > MOST_CRASHES and check.error is None:
        raise MlflowExtError(f"given up: its worker died {check.attempt - 1} times")
    if not catch_up() and check.attempt < MOST_CRASHES:
        raise UnavailableError("predictions of the window are still in the spool; is the compactor running?")
    began = time.monotonic()
    of_skew = check.kind is CheckKind.SKEW
    report, snapshot = (run_skew if of_skew else run_check)(check, sources)
    what = "is not asked what it was trained on" if of_skew else "drifted"
    message = f"{check.model} version {report.version} {what}: {report.reason}"
    checks.computed(check, report, snapshot, message if report.verdict is DriftVerdict.DRIFT else None)
    _log.info(
        "drift.computed check=%d model=%s version=%s verdict=%s rows=%d seconds=%.2f",
        *(check.id, check.model, report.version, report.verdict, report.window_rows, time.monotonic() - began),
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
