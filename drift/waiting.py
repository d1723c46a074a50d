"""A check by hand: asked for in PostgreSQL, then waited for, or run right here when no scheduler lives."""

import time
from datetime import datetime

from rich.console import Console

from mlflow_ext.bootstrap import Services
from mlflow_ext.domain.drift import OPEN_CHECKS, CheckState, DriftCheck
from mlflow_ext.domain.replicas import Role
from mlflow_ext.errors import AlreadyRunningError, InvalidInputError, NotFoundError
from mlflow_ext.policy import DriftPolicy
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.pointers import SqlPointers
from mlflow_ext.store.registry_view import SqlRegistryView
from mlflow_ext.store.replicas import Replicas, new_replica_id
from mlflow_ext.store.segments import Segments
from mlflow_ext.store.skews import Skews

LOOK_S = 0.3
_WORDS = {
    CheckState.DUE: "waiting for a scheduler",
    CheckState.RUNNING: "reading and comparing",
    CheckState.COMPUTED: "computed, on its way to MLflow",
    CheckState.DELIVERING: "writing the MLflow run",
    CheckState.LABELLED: "labels came since",
    CheckState.MEASURING: "measuring with the labels that came",
}


def run_now(
    parts: Services,
    model: str,
    *,
    since: datetime | None,
    until: datetime | None,
    version: int | None,
    quiet: bool = False,
) -> DriftCheck:
    """Run a check and wait for its end.

    Returns:
        The check: done, failed, or computed and waiting for MLflow where MLflow does not answer.

    Raises:
        NotFoundError: There is no such model or version.
        InvalidInputError: The window ends before it begins.
        UnavailableError: PostgreSQL does not answer.
    """
    _known(parts, model, version)
    owner = new_replica_id()
    checks = Checks(parts.engine, owner=owner, lease_s=parts.settings.lease_s)
    window_s = parts.settings.policy(model).drift.window_s
    if since is not None and until is not None and until <= since:
        raise InvalidInputError("the window ends before it begins: --until must be later than --since")
    check = checks.request(model, window_s=window_s, version=version, since=since, until=until)
    return _waited(parts, checks, check, owner, quiet=quiet)


def skew_now(parts: Services, model: str, *, version: int | None, quiet: bool = False) -> DriftCheck:
    """Look for skew between what a version was trained on and what it is asked, and wait for the end.

    Args:
        parts: The services.
        model: Registered model.
        version: The version; the one in Production for `None`.
        quiet: Whether nothing is told meanwhile.

    Returns:
        The check: done, failed, or computed and waiting for MLflow where MLflow does not answer.

    Raises:
        NotFoundError: There is no such model or version, or none is in Production.
        UnavailableError: PostgreSQL does not answer.
    """
    _known(parts, model, version)
    pointer = SqlPointers(parts.engine).get(model)
    served = None if pointer is None else pointer.version
    wanted = version or served
    if wanted is None:
        raise NotFoundError(f"no version of {model} is in Production; name one with --version")
    owner = new_replica_id()
    # which rows were the first is read from segments
    _catch_up(parts)
    policy = parts.settings.policy(model).drift
    rows = max(policy.skew_rows or DriftPolicy().skew_rows, policy.minimum_rows)
    check = Skews(parts.engine).request(model, wanted, rows=rows, served=served, window_s=policy.window_s)
    checks = Checks(parts.engine, owner=owner, lease_s=parts.settings.lease_s)
    return _waited(parts, checks, check, owner, quiet=quiet)


def _known(parts: Services, model: str, version: int | None) -> None:
    view = SqlRegistryView(parts.engine)
    if not view.versions(model):
        raise NotFoundError(f"there is no registered model {model!r}; known are: {', '.join(view.models()) or 'none'}")
    if version is not None:
        view.version(model, version)


def _waited(parts: Services, checks: Checks, check: DriftCheck, owner: str, *, quiet: bool) -> DriftCheck:
    with Console(stderr=True, quiet=quiet).status("asked for a check") as status:
        while check.state in OPEN_CHECKS and not (check.state is CheckState.COMPUTED and check.error):
            status.update(f"check {check.id}: {_WORDS[check.state]}{f' ({check.error})' if check.error else ''}")
            if Replicas(parts.engine).living(role=Role.DRIFT):
                time.sleep(LOOK_S)
            else:
                status.update(f"check {check.id}: no scheduler lives, running it here")
                _work_here(parts, owner)
            check = checks.get(check.id)
    return check


def _work_here(parts: Services, owner: str) -> None:
    from drift.worker import check_step

    _compact(parts)
    if not check_step(parts, owner)():
        time.sleep(LOOK_S)


def _catch_up(parts: Services) -> None:
    """Bring what is in this machine's spool now into segments, or wait until a living scheduler has."""
    from drift.checking import caught_up
    from drift.worker import CATCH_UP_S

    _compact(parts)
    caught_up(Segments(parts.engine), parts.settings.spool_dir, CATCH_UP_S)


def _compact(parts: Services) -> None:
    from drift.worker import compactor, set_up_process

    set_up_process(parts)
    try:
        with compactor(parts) as one:
            one.run_once()
    except AlreadyRunningError:
        # somebody compacts: the check waits for what is in the spool now
        pass
