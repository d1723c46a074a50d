"""`mlflow-ext serve` as a process: it stops in order, leaves nothing behind, and says clearly what is wrong."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from mlflow_ext.domain.stages import Stage
from mlflow_ext.registry.client import MlflowRegistry
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.replicas import Replicas
from tests.conftest import free_port, wait_until
from tests.integration.registered import BODY, constant, register
from tests.integration.serving.service import Service, service


def family(running: Service) -> list[psutil.Process]:
    """Give the service's processes."""
    parent = psutil.Process(running.process.pid)
    return [parent, *parent.children(recursive=True)]


def gone(processes: list[psutil.Process]) -> bool:
    """Tell whether none of them runs."""
    return all(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in processes)


def test_stops_in_order(mlflow_database_url: str, mlflow_url: str, registry: MlflowRegistry, tmp_path: Path) -> None:
    """On SIGTERM the service is not ready at once, answers what is in flight, and leaves no process and no replica."""
    name = "stopping"
    register(mlflow_url, name, constant(1.0))
    registry.set_stage(name, 1, Stage.PRODUCTION)
    with service(mlflow_database_url, mlflow_url, tmp_path, serving_drain_s="2") as running:
        running.wait_served(name, 1)
        processes = family(running)
        statuses: list[int] = []
        errors: list[str] = []
        asked = threading.Event()

        def score() -> None:
            with httpx.Client(timeout=20) as client:
                while True:
                    try:
                        answer = client.post(f"{running.url}/models/{name}/invocations", json=BODY)
                    except httpx.TransportError as exc:
                        # only once the service has been told to stop, and after its time of grace
                        if not asked.is_set():
                            errors.append(repr(exc))
                        return
                    statuses.append(answer.status_code)

        clients = [threading.Thread(target=score) for _ in range(2)]
        for client in clients:
            client.start()
        wait_until(lambda: len(statuses) > 20, 20)
        asked.set()
        running.process.send_signal(signal.SIGTERM)
        with httpx.Client(timeout=5) as client:
            wait_until(lambda: client.get(f"{running.url}/readyz").status_code == 503, 1.5)
            assert client.get(f"{running.url}/livez").status_code == 200
        assert running.process.wait(20) == 0
        for client in clients:
            client.join()
        assert errors == []
        assert set(statuses) == {200}
        assert gone(processes)
        engine = make_engine(mlflow_database_url)
        assert [one for one in Replicas(engine).living(role="scoring") if one.url == running.url] == []
        engine.dispose()
        assert [*(tmp_path / "metrics").iterdir()] == []


def test_children_do_not_outlive_a_killed_parent(mlflow_database_url: str, mlflow_url: str, tmp_path: Path) -> None:
    """Kill -9 of the parent ends its scoring processes."""
    with service(mlflow_database_url, mlflow_url, tmp_path) as running:
        children = family(running)[1:]
        assert children
        os.kill(running.process.pid, signal.SIGKILL)
        wait_until(lambda: gone(children), 15)


def test_a_process_that_dies_too_often_ends_the_service(tmp_path: Path) -> None:
    """A scoring process that cannot start is tried again a few times, then the service ends with the reason."""
    from mlflow_ext.errors import UnavailableError
    from mlflow_ext.supervisor.restarts import Restarts
    from serving.children import Child, Children

    command = (sys.executable, "-c", "raise SystemExit(7)")
    child = Child("scoring 1", command, stop_within_s=1, restarts=Restarts(limit=2, first_s=0.01))
    with pytest.raises(UnavailableError, match=r"scoring 1 process dies too often \(last exit code 7\)"):
        Children([[child]]).run()


def test_a_stubborn_child_is_killed(tmp_path: Path) -> None:
    """A child that ignores SIGTERM is killed when its time is up, after the group before it has ended."""
    from serving.children import Child, Children

    ready = [tmp_path / "polite", tmp_path / "stubborn"]
    script = "import signal,sys,time,pathlib; {}; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
    polite = script.format("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))")
    stubborn = script.format("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    ended: list[str] = []
    children = [
        [Child("polite", (sys.executable, "-c", polite, str(ready[0])), 10, ended=lambda _: ended.append("polite"))],
        [
            Child(
                "stubborn",
                (sys.executable, "-c", stubborn, str(ready[1])),
                0.5,
                ended=lambda _: ended.append("stubborn"),
            )
        ],
    ]

    def stop_when_ready() -> None:
        wait_until(lambda: all(path.exists() for path in ready), 30)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_ready).start()
    began = time.monotonic()
    Children(children).run()
    assert ended == ["polite", "stubborn"]
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--role", "cooking"), "must be one or both of scoring, promotion"),
        (("--port", "{taken}"), "choose another --host or --port"),
        (("--host", "203.0.113.1", "--port", "0"), "cannot listen on 203.0.113.1"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, serving: Service, arguments: tuple[str, ...], message: str) -> None:
    """A wrong role, a taken port and a foreign address are clear errors before anything starts."""
    taken = serving.url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mlflow_ext.cli", "serve", *(one.format(taken=taken) for one in arguments)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MLFLOW_EXT_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"},
        timeout=60,
    )
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_no_database_is_named(tmp_path: Path) -> None:
    """Without a database the command says which settings give it one."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_EXT_")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mlflow_ext.cli", "serve", "--port", str(free_port())],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=environ,
        timeout=60,
    )
    assert (done.returncode, "MLFLOW_EXT_DATABASE_URL" in done.stderr) == (1, True)


def test_feedback_reaches_the_database_once(
    serving: Service, registry: MlflowRegistry, mlflow_url: str, mlflow_database_url: str
) -> None:
    """An outcome sent twice over HTTP is one row."""
    from sqlalchemy import select

    from mlflow_ext.store.tables import feedback

    name = "judged"
    register(mlflow_url, name, constant(1.0))
    registry.set_stage(name, 1, Stage.PRODUCTION)
    serving.wait_served(name, 1)
    id_ = serving.score(name).headers["x-request-id"]
    for _ in range(2):
        sent = httpx.post(
            f"{serving.url}/models/{name}/feedback", json={"feedback": [{"request_id": id_, "value": {"late": True}}]}
        )
        assert (sent.status_code, sent.json()) == (200, {"stored": 1})
    engine = make_engine(mlflow_database_url)
    with engine.connect() as connection:
        rows = connection.execute(select(feedback).where(feedback.c.model == name)).all()
    engine.dispose()
    assert [(row.request_id, row.row, row.value) for row in rows] == [(id_, 0, {"late": True})]
