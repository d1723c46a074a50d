"""Is a part well? One question a part, each answered within seconds; `python -m mlflow_ext.health PART` for containers.

What a model's state is belongs to `commands/status.py`.
"""

import socket
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from mlflow_ext.errors import InvalidInputError, MlflowExtError, UnavailableError

TIMEOUT_S = 3.0
_LOST = {
    "full": "for want of room (is the compactor of the drift scheduler running?)",
    "disk": "because the disk cannot be written",
    "unfit": "too large for a record",
    "private": "where personal data could not be told apart (policy privacy)",
}
"""Why predictions were not logged, by the word that scoring processes use."""


@dataclass(frozen=True, slots=True)
class Health:
    """The answer.

    Attributes:
        part: Which part was asked.
        ok: Whether it does its work.
        detail: What it said about itself, or what is wrong and what to do.
    """

    part: str
    ok: bool
    detail: str


def check_mlflow(url: str) -> Health:
    """Ask MLflow's server for something that needs its database: its `/health` says yes without one."""
    return _http("mlflow", f"{url}/api/2.0/mlflow/registered-models/search?max_results=1", url)


def check_serving(url: str) -> Health:
    """Ask the promotion service whether it takes requests."""
    return _http("serving", f"{url}/readyz", url)


def check_database(database_url: str) -> Health:
    """Ask PostgreSQL for its version, and whether our tables are those of this code."""
    from sqlalchemy import text

    from mlflow_ext.store import schema
    from mlflow_ext.store.engine import make_engine, translated

    engine = make_engine(database_url, name="mlflow-ext health", pool_size=1)
    try:
        with translated(), engine.connect() as connection:
            version = connection.execute(text("SHOW server_version")).scalar_one()
        found, needed = schema.current(engine), schema.head()
    except UnavailableError as exc:
        return Health("postgres", ok=False, detail=str(exc))
    finally:
        engine.dispose()
    if found != needed:
        return Health("postgres", ok=False, detail=f"tables are at {found}, not {needed}: run `mlflow-ext db upgrade`")
    return Health("postgres", ok=True, detail=f"PostgreSQL {version}, schema at {found}")


def check_triggers(database_url: str) -> Health:
    """Look whether registry changes are announced at once; without triggers polling carries them, more slowly."""
    from mlflow_ext.store.engine import make_engine, translated
    from mlflow_ext.store.guard_functions import guard_holds
    from mlflow_ext.store.triggers import triggers_installed

    engine = make_engine(database_url, name="mlflow-ext health", pool_size=1)
    try:
        with translated(), engine.connect() as connection:
            installed, guarded = triggers_installed(connection), guard_holds(connection)
    except UnavailableError as exc:
        return Health("triggers", ok=False, detail=str(exc))
    finally:
        engine.dispose()
    if not installed:
        return Health(
            "triggers", ok=False, detail="not installed, changes are found by polling: `mlflow-ext db upgrade`"
        )
    if not guarded:
        return Health(
            "triggers", ok=False, detail="models are guarded, the guard's are missing: `mlflow-ext db upgrade`"
        )
    return Health("triggers", ok=True, detail="installed")


def check_role(database_url: str, role: str, *, host: str | None = None) -> Health:
    """Look for a living process with a role.

    Args:
        database_url: Where processes announce themselves.
        role: `scoring`, `promotion` or `drift`.
        host: Count only those on this machine, and only while their process is there.
    """
    import psutil

    from mlflow_ext.store.engine import make_engine
    from mlflow_ext.store.replicas import MAX_AGE_S, Replicas

    engine = make_engine(database_url, name="mlflow-ext health", pool_size=1)
    try:
        living = Replicas(engine).living(role=role)
    except UnavailableError as exc:
        return Health(role, ok=False, detail=str(exc))
    finally:
        engine.dispose()
    if host is not None:
        # a row of a killed process stays for some seconds
        living = [r for r in living if r.host == host and psutil.pid_exists(r.pid)]
    if not living:
        return Health(role, ok=False, detail=f"no process has given a sign of life for {MAX_AGE_S:.0f} s")
    pids = ", ".join(f"{r.host}:{r.pid}" for r in living)
    return Health(role, ok=True, detail=f"{len(living)} running ({pids})")


def check_prediction_log(database_url: str) -> Health:
    """Ask the living scoring processes whether what they answer is being logged, and what was lost since they began."""
    from mlflow_ext.store.engine import make_engine
    from mlflow_ext.store.replicas import Replicas

    part = "prediction log"
    engine = make_engine(database_url, name="mlflow-ext health", pool_size=1)
    try:
        living = Replicas(engine).living(role="scoring")
    except UnavailableError as exc:
        return Health(part, ok=False, detail=str(exc))
    finally:
        engine.dispose()
    lost: Counter[str] = Counter()
    losing: set[str] = set()
    for replica in living:
        for model, told in replica.state.items():
            log = told.get("log") if isinstance(told, dict) else None
            if log:
                lost.update(log["lost"])
                losing |= {model} if log["losing"] else set()
    if not lost:
        return Health(part, ok=True, detail=f"nothing lost ({len(living)} scoring processes)")
    why = ", ".join(f"{count} {_LOST[reason]}" for reason, count in sorted(lost.items()))
    detail = f"lost since the scoring processes began: {why}"
    if losing:
        return Health(part, ok=False, detail=f"losing predictions of {', '.join(sorted(losing))}; {detail}")
    return Health(part, ok=True, detail=f"nothing lost lately; {detail}")


def _http(part: str, question: str, url: str) -> Health:
    import httpx

    try:
        # asked ten times a second while something starts: certificates are read only where they are needed, and proxies
        # are for what is elsewhere
        answer = httpx.get(question, timeout=TIMEOUT_S, verify=question.startswith("https:"), trust_env=False)
    except httpx.HTTPError as exc:
        return Health(part, ok=False, detail=f"{url} does not answer ({exc})")
    if answer.status_code != httpx.codes.OK:
        return Health(part, ok=False, detail=f"{url} answers {answer.status_code}: {answer.text[:200]}")
    return Health(part, ok=True, detail=url)


def main(arguments: list[str]) -> int:
    """Check one part of this machine by its settings; the exit code is 0 when it is well.

    Args:
        arguments: One of `postgres`, `mlflow`, `serving`, `drift`.
    """
    from mlflow_ext.bootstrap import running
    from mlflow_ext.config import load

    settings = running(load())
    here = socket.gethostname()
    checks: dict[str, Callable[[], Health]] = {
        "postgres": lambda: check_database(settings.require_database_url()),
        "mlflow": lambda: check_mlflow(settings.mlflow_url),
        "serving": lambda: check_serving(settings.serving_url),
        "drift": lambda: check_role(settings.require_database_url(), "drift", host=here),
    }
    if len(arguments) != 1 or arguments[0] not in checks:
        raise InvalidInputError(f"usage: python -m mlflow_ext.health {{{'|'.join(checks)}}}")
    health = checks[arguments[0]]()
    print(f"{health.part}: {'ok' if health.ok else 'not ok'}: {health.detail}")  # noqa: T201  (a command's answer)
    return 0 if health.ok else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MlflowExtError as exc:
        sys.exit(f"mlflow-ext: {exc}")
