"""Swaps under load, and what must not stop the old version: broken artifacts, MLflow or PostgreSQL away, kill -9."""

import os
import signal
import threading
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from mlflow import MlflowClient

from mlflow_ext.domain.stages import Stage
from mlflow_ext.registry.client import MlflowRegistry
from tests.conftest import wait_until
from tests.integration.gateway import Gateway
from tests.integration.registered import BODY, constant, register
from tests.integration.serving.service import Service, service


@dataclass
class Load:
    """Clients that score one after the other until they are told to stop, and remember every answer."""

    url: str
    clients: int
    answers: list[list[tuple[int, int | None, str]]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Load":
        """Begin."""
        for number in range(self.clients):
            self.answers.append([])
            self._threads.append(threading.Thread(target=self._run, args=(number,)))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        # longer than a request may take: whatever becomes of it, the service says so
        with httpx.Client(timeout=120) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(self.url, json=BODY)
                except httpx.HTTPError as exc:
                    self.errors.append(repr(exc))
                    continue
                version = answer.headers.get("x-model-version")
                self.answers[number].append(
                    (answer.status_code, int(version) if version else None, answer.headers["x-request-id"])
                )
                if answer.status_code != 200:
                    self.errors.append(answer.text)
                elif answer.json() != {"predictions": [float(version or 0)]}:
                    self.errors.append(f"version {version} answered {answer.text}")

    @property
    def count(self) -> int:
        """How many answers there are."""
        return sum(len(answers) for answers in self.answers)

    @property
    def acknowledged(self) -> int:
        """How many of them are predictions."""
        return sum(status == 200 for answers in self.answers for status, _, _ in list(answers))


def two_versions(mlflow_url: str, name: str, registry: MlflowRegistry) -> None:
    """Register two versions that answer with their number; the first one is in Production."""
    register(mlflow_url, name, constant(1.0))
    register(mlflow_url, name, constant(2.0))
    registry.set_stage(name, 1, Stage.PRODUCTION)


def test_twenty_flips_under_load(serving: Service, registry: MlflowRegistry, mlflow_url: str) -> None:
    """Eight clients score while Production flips 20 times: nothing fails, nobody goes back within a flip."""
    name = "flipped"
    two_versions(mlflow_url, name, registry)
    serving.wait_served(name, 1)
    with Load(f"{serving.url}/models/{name}/invocations", clients=8) as load:
        wait_until(lambda: all(load.answers), 30)
        for flip in range(20):
            version = 2 - flip % 2
            registry.set_stage(name, version, Stage.PRODUCTION)
            # each client has had an answer of the new version before the next flip begins
            marks = [len(answers) for answers in load.answers]
            wait_until(
                lambda marks=marks, version=version: all(  # type: ignore[misc]
                    any(v == version for _, v, _ in answers[mark:])
                    for answers, mark in zip(load.answers, marks, strict=True)
                ),
                30,
                lambda: serving.log,
            )
    assert load.errors == []
    for answers in load.answers:
        versions = [version for _, version, _ in answers]
        changes = sum(1 for one, other in pairwise(versions) if one != other)
        assert changes == 20, "a client went back within a flip"
    logged = {record.request_id for record in serving.records() if record.model == name}
    assert {id_ for answers in load.answers for _, _, id_ in answers} <= logged


def break_artifact(mlflow_url: str, name: str, version: int, how: str) -> None:
    """Break a registered version's files at the artifact store, behind MLflow's back."""
    client = MlflowClient(tracking_uri=mlflow_url, registry_uri=mlflow_url)
    uri = client.get_model_version_download_uri(name, str(version)).removeprefix("mlflow-artifacts:/")
    url = f"{mlflow_url}/api/2.0/mlflow-artifacts/artifacts/{uri}"
    if how == "cut":
        whole = httpx.get(f"{url}/model.skops").content
        httpx.put(f"{url}/model.skops", content=whole[: len(whole) // 2]).raise_for_status()
    elif how == "no MLmodel":
        httpx.delete(f"{url}/MLmodel").raise_for_status()
    else:
        httpx.put(f"{url}/serving_input_example.json", content=b'{"inputs": {"z": [1]}}').raise_for_status()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("cut", "truncated or damaged"),
        ("no MLmodel", "no MLmodel"),
        ("example", "does not answer its own input example"),
    ],
)
def test_a_broken_artifact_keeps_the_old_version(
    serving: Service, registry: MlflowRegistry, mlflow_url: str, how: str, reason: str
) -> None:
    """A version whose files are broken never answers; the old one does, and the reason can be read."""
    name = f"broken {how}"
    two_versions(mlflow_url, name, registry)
    serving.wait_served(name, 1)
    break_artifact(mlflow_url, name, 2, how)
    with Load(f"{serving.url}/models/{name}/invocations", clients=2) as load:
        registry.set_stage(name, 2, Stage.PRODUCTION)
        wait_until(lambda: serving.model(name)["failures"], 30, lambda: serving.log)
    assert load.errors == []
    assert {version for answers in load.answers for _, version, _ in answers} == {1}
    [failure] = serving.model(name)["failures"]
    assert (failure["version"], reason in failure["reason"]) == (2, True), failure
    assert f"event=version_not_loaded model='{name}' version=2" in serving.log
    metrics = httpx.get(f"{serving.url}/metrics").text
    assert f'mlflow_ext_loads_total{{model="{name}",outcome="failed"}}' in metrics


def test_the_failure_is_told_to_everybody(
    serving: Service, registry: MlflowRegistry, mlflow_url: str, mlflow_database_url: str
) -> None:
    """What is served, and what could not be loaded, stand in the replica's row."""
    from mlflow_ext.store.engine import make_engine
    from mlflow_ext.store.replicas import Replicas

    name = "told"
    two_versions(mlflow_url, name, registry)
    serving.wait_served(name, 1)
    break_artifact(mlflow_url, name, 2, "cut")
    registry.set_stage(name, 2, Stage.STAGING)
    engine = make_engine(mlflow_database_url)

    def state() -> dict[str, Any]:
        replicas = [one for one in Replicas(engine).living(role="scoring") if one.url == serving.url]
        return replicas[0].state.get(name, {}) if replicas else {}

    wait_until(lambda: "failed" in state(), 20, lambda: serving.log)
    assert (state()["version"], state()["generation"]) == (1, 1)
    assert "truncated or damaged" in state()["failed"]["2"]
    engine.dispose()


def test_answers_go_on_without_mlflow(
    mlflow_database_url: str, mlflow_url: str, registry: MlflowRegistry, tmp_path: Path
) -> None:
    """While MLflow's server is away, what is loaded answers, and a flip to a loaded version still works."""
    name = "orphaned"
    two_versions(mlflow_url, name, registry)
    registry.set_stage(name, 2, Stage.STAGING)
    with Gateway(mlflow_url) as gateway, service(mlflow_database_url, gateway.url, tmp_path) as running:
        running.wait_served(name, 1)
        wait_until(lambda: len(running.model(name)["loaded"]) == 2, 20, lambda: running.log)
        register(mlflow_url, name, constant(3.0))
        gateway.close()
        assert running.served(name) == 1
        registry.set_stage(name, 2, Stage.PRODUCTION)
        running.wait_served(name, 2)
        registry.set_stage(name, 3, Stage.PRODUCTION)
        wait_until(lambda: running.model(name)["failures"], 60, lambda: running.log)
        assert running.served(name) == 2
        gateway.open()
        # the load is tried again with back-off, without another notification
        running.wait_served(name, 3)


def test_answers_go_on_without_postgresql(
    mlflow_database_url: str, mlflow_url: str, tmp_path: Path, registry: MlflowRegistry
) -> None:
    """While PostgreSQL is away, what is loaded answers, feedback says so, and following goes on when it is back."""
    name = "without a database"
    two_versions(mlflow_url, name, registry)
    with (
        Gateway(mlflow_database_url) as gateway,
        service(gateway.database_url, mlflow_url, tmp_path, reconcile_s="1") as running,
    ):
        running.wait_served(name, 1)
        gateway.close()
        with Load(f"{running.url}/models/{name}/invocations", clients=2) as load:
            wait_until(lambda: "event=look_failed" in running.log and load.count > 10, 40, lambda: running.log)
        assert load.errors == []
        outcome = {"feedback": [{"request_id": "r", "value": 1}]}
        refused = httpx.post(f"{running.url}/models/{name}/feedback", json=outcome, timeout=30)
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        assert "PostgreSQL does not answer" in refused.json()["message"]
        assert httpx.get(f"{running.url}/readyz").status_code == 200
        registry.set_stage(name, 2, Stage.PRODUCTION)
        assert running.served(name) == 1
        gateway.open()
        running.wait_served(name, 2)


# a service gives up when one of its processes dies six times within two minutes
SLOW = [pytest.mark.slow, pytest.mark.timeout(2_400)]
EVERYTHING = ("scoring", "hosts", "host")


@pytest.mark.parametrize(
    ("kills", "victims"),
    [
        ((3,), ("scoring",)),
        pytest.param((7, 7, 6), ("scoring",), marks=SLOW),
        pytest.param((7, 7, 6), EVERYTHING, marks=SLOW),
    ],
    ids=["scoring", "20 scoring", "20 of everything"],
)
def test_kill_9_under_load_loses_no_acknowledged_prediction(
    mlflow_database_url: str,
    mlflow_url: str,
    registry: MlflowRegistry,
    tmp_path: Path,
    kills: tuple[int, ...],
    victims: tuple[str, ...],
) -> None:
    """Processes are killed under load: every answered request is in the spool, and answers go on.

    The model computes in its host, so each request needs them all: its scoring process, the process that hosts are
    forked from, its host.
    """
    name = f"killed {sum(kills)} {len(victims)}"
    two_versions(mlflow_url, name, registry)
    done = 0
    for number, times in enumerate(kills):
        with service(mlflow_database_url, mlflow_url, tmp_path / str(number), "--workers", "2") as running:
            running.wait_served(name, 1)
            whom = [victims[kill % len(victims)] for kill in range(done, done + times)]
            done += times
            load = _killed_under_load(running, name, whom)
            acknowledged = {id_ for answers in load.answers for status, _, id_ in answers if status == 200}
            logged = [record.request_id for record in running.records()]
            assert acknowledged <= set(logged)
            assert len(logged) == len(set(logged))
            print(f"{', '.join(whom)} killed: {len(acknowledged)} acknowledged, {len(load.errors)} errors, 0 missing")
            # what was in flight at the kill of its scoring process is lost and nothing else: at most one request of
            # each client and kill; without a host requests are refused, and may come again
            refused = [error for error in load.errors if '"error_code"' in error]
            assert all("TEMPORARILY_UNAVAILABLE" in error for error in refused), refused
            assert victims != ("scoring",) or not refused, refused
            assert len(load.errors) - len(refused) <= 4 * whom.count("scoring"), load.errors


def _killed_under_load(running: Service, name: str, whom: list[str]) -> Load:
    wait_until(lambda: running.log.count("event=scoring_started") == 2, 60, lambda: running.log)
    with Load(f"{running.url}/models/{name}/invocations", clients=4) as load:
        for victim in whom:
            _wait_answers(load, running)
            starts, ready = (running.log.count(f"event={event}") for event in ("scoring_started", "hosts_ready"))
            processes = {"scoring": running.scoring_pids, "hosts": running.hosts_pids, "host": running.host_pids}
            # the oldest one is sure to be answering
            os.kill(min(processes[victim](), key=lambda pid: psutil.Process(pid).create_time()), signal.SIGKILL)
            # after several deaths in a row it waits before it starts one again
            if victim == "scoring":
                wait_until(lambda: running.log.count("event=scoring_started") > starts, 180, lambda: running.log)  # noqa: B023
            elif victim == "hosts":
                wait_until(lambda: running.log.count("event=hosts_ready") > ready, 180, lambda: running.log)  # noqa: B023
        _wait_answers(load, running)
    return load


def _wait_answers(load: Load, running: Service) -> None:
    before = load.acknowledged
    wait_until(lambda: load.acknowledged > before + 50, 180, lambda: running.log)


def test_metrics_add_up_over_processes(
    mlflow_database_url: str, mlflow_url: str, registry: MlflowRegistry, tmp_path: Path
) -> None:
    """Whichever of several scoring processes is asked, the metrics count the requests of all."""
    name = "counted"
    two_versions(mlflow_url, name, registry)
    with service(mlflow_database_url, mlflow_url, tmp_path, "--workers", "2") as running:
        running.wait_served(name, 1)
        before = _count(running, name)
        for _ in range(40):
            # a connection of its own each time, so that both processes get some
            assert running.score(name).status_code == 200
        wait_until(lambda: f'version_info{{model="{name}",version="1"}} 2.0' in _metrics(running), 20)
        assert {_count(running, name) for _ in range(10)} == {before + 40}
        assert f'mlflow_ext_spool_records_total{{model="{name}"}} {before + 40:.1f}' in _metrics(running)
        assert 'mlflow_ext_in_progress_requests{model="counted"} 0.0' in _metrics(running)


def _metrics(running: Service) -> str:
    return httpx.get(f"{running.url}/metrics").text


def _count(running: Service, name: str) -> int:
    for line in _metrics(running).splitlines():
        if line.startswith(f'mlflow_ext_requests_total{{code="200",model="{name}",version="1"}}'):
            return int(float(line.split()[-1]))
    return 0
