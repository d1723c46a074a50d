"""The scheduler's children: `python -m drift.worker compactor|checks|retraining [OWNER]`, and what they are built of.

Each is the heavy part of one loop; when there is something to do is decided in `schedule.py`. They have no signal
handlers: being killed at any point is what their work is made for.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import mlflow
from mlflow import MlflowClient

from drift.checking import caught_up, check_next
from drift.children import end_with_parent
from drift.compactor import Compactor, exclusively
from drift.delivery import deliver_next
from drift.policies import Policies
from drift.profiles import Profiles
from drift.reference import References
from drift.remeasuring import measure_next
from drift.retention import EVERY_S, retire
from drift.retraining import Executor
from drift.sources import Sources
from drift.weights import Importances
from mlflow_ext.bootstrap import Services, services
from mlflow_ext.domain.actors import DRIFT_SCHEDULER, act_as
from mlflow_ext.errors import AlreadyRunningError, UnavailableError
from mlflow_ext.registry.client import MlflowRegistry
from mlflow_ext.registry.drift_runs import DriftRuns
from mlflow_ext.registry.project_runs import ProjectRuns
from mlflow_ext.registry.run_data import fetch_rows
from mlflow_ext.registry.run_files import RunFiles
from mlflow_ext.registry.scoring_protocol import ModelColumns, model_columns
from mlflow_ext.store.alerts import Alerts
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.labels import Labels
from mlflow_ext.store.partials import Partials
from mlflow_ext.store.pointers import SqlPointers
from mlflow_ext.store.registry_view import SqlRegistryView
from mlflow_ext.store.relabelling import Relabelling
from mlflow_ext.store.retrainings import Retrainings
from mlflow_ext.store.segments import Segments

_log = logging.getLogger(__name__)

POLL_S = 0.5
COMPACTOR_SHARE = 0.1
LONGEST_REST_S = 2.0
"""The compactor takes about a tenth of a core, unless what waits after so long a rest needs more."""
IDLE_S = 300.0
"""A worker of checks or retrainings without work for so long ends, and gives its memory back."""
CATCH_UP_S = 30.0
"""How long a check waits for the compactor before it is put back."""


def set_up_process(parts: Services) -> None:
    """Point MLflow at its server, with patience that fits a loop which tries again anyway."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # standard output belongs to `drift run --json`
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    mlflow.set_tracking_uri(parts.settings.mlflow_url)


@contextmanager
def compactor(parts: Services) -> Iterator[Compactor]:
    """Build the compactor of this data directory, and be the only one.

    Raises:
        AlreadyRunningError: Another process is the compactor.
    """
    client = MlflowClient(parts.settings.mlflow_url)

    @lru_cache(maxsize=256)
    def columns_of(model: str, version: int) -> ModelColumns:
        return model_columns(client, model, version)

    data_dir = parts.settings.data_dir.absolute()
    with exclusively(data_dir):
        yield Compactor(
            index=Segments(parts.engine),
            spool_dir=parts.settings.spool_dir,
            root=parts.settings.segments_root,
            quarantine_dir=data_dir / "quarantine",
            columns_of=columns_of,
        )


def check_step(parts: Services, owner: str) -> Callable[[], bool]:
    """Build what delivers a waiting result, runs a due check, or measures one that labels came for; False for none."""
    client = MlflowClient(parts.settings.mlflow_url)
    kept = parts.settings.data_dir.absolute() / "references"
    index = Segments(parts.engine)
    checks = Checks(parts.engine, owner=owner, lease_s=parts.settings.lease_s)
    runs, alerts = DriftRuns(client), Alerts(parts.engine)
    relabelling = Relabelling(parts.engine, owner=owner, lease_s=parts.settings.lease_s)
    sources = Sources(
        pointers=SqlPointers(parts.engine),
        view=SqlRegistryView(parts.engine),
        index=index,
        labels=Labels(parts.engine),
        partials=Partials(parts.engine),
        profiles=Profiles(
            References(lambda version, source: fetch_rows(client, version, source, kept)),
            RunFiles(client),
            kept,
            parts.settings.keyed_hash(),
        ),
        importances=Importances(RunFiles(client), kept),
        policy_of=Policies(parts.settings).of,
        before=checks.before,
    )

    def step() -> bool:
        if deliver_next(checks, runs, alerts, policy_of=sources.policy_of, segments=parts.settings.segments_root):
            return True
        if check_next(checks, sources, lambda: caught_up(index, parts.settings.spool_dir, CATCH_UP_S)):
            return True
        return measure_next(relabelling, checks, sources)

    return step


def retraining_step(parts: Services, owner: str) -> Callable[[], bool]:
    """Build what runs one waiting retraining; False when there is none."""
    client = MlflowClient(parts.settings.mlflow_url)
    kept = parts.settings.data_dir.absolute() / "references"
    executor = Executor(
        retrainings=Retrainings(parts.engine, owner=owner, lease_s=parts.settings.lease_s),
        runs=ProjectRuns(client, SqlRegistryView(parts.engine), parts.settings.mlflow_url),
        registry=MlflowRegistry(client),
        pointers=SqlPointers(parts.engine),
        index=Segments(parts.engine),
        labels=Labels(parts.engine),
        references=References(lambda version, source: fetch_rows(client, version, source, kept)),
        policy_of=Policies(parts.settings).of,
        data_dir=parts.settings.data_dir.absolute(),
    )
    return executor.run_next


def start_logging(level: str) -> None:
    """Write log lines to standard error."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    # one line a request would drown ours
    logging.getLogger("httpx").setLevel(logging.WARNING)


def main(role: str, owner: str) -> None:
    """Be the child that the role names, until the parent is gone or there was nothing to do for a while."""
    act_as(DRIFT_SCHEDULER)
    end_with_parent()
    with services(name=f"mlflow-ext drift {role}") as parts:
        start_logging(parts.settings.log_level)
        set_up_process(parts)
        if role == "compactor":
            _compact_for_ever(parts)
        else:
            build = {"checks": check_step, "retraining": retraining_step}[role]
            _run_until_idle(build(parts, owner))


def rest_s(used_s: float) -> float:
    """Say how long the compactor rests after a round that took so much of a processor, in seconds.

    Each round writes an hour's small segments anew: many small rounds cost scoring far more than a few large ones.
    """
    return min(max(POLL_S, used_s * (1 / COMPACTOR_SHARE - 1)), LONGEST_REST_S)


def _compact_for_ever(parts: Services) -> None:
    policies = Policies(parts.settings)
    while True:
        try:
            with compactor(parts) as one:
                retired_at = float("-inf")
                while True:
                    if time.monotonic() - retired_at >= EVERY_S:
                        _patiently(lambda: retire(one.index, policies.of))
                        retired_at = time.monotonic()
                    used_s = time.process_time()
                    _patiently(one.run_once)
                    time.sleep(rest_s(time.process_time() - used_s))
        except AlreadyRunningError:
            # another scheduler on this directory has one; take over when it goes
            time.sleep(4 * POLL_S)


def _run_until_idle(step: Callable[[], bool]) -> None:
    last = time.monotonic()
    while time.monotonic() - last < IDLE_S:
        if _patiently(step):
            last = time.monotonic()
        else:
            time.sleep(POLL_S)


def _patiently(step: Callable[[], int]) -> int:
    try:
        return step()
    except UnavailableError as exc:
        _log.warning("worker.waits reason=%s", exc)
        time.sleep(4 * POLL_S)
        return 0


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
