"""However a part of the service ends, no model host is left behind; Ctrl-C ends all of it in order.

How it stops on SIGTERM, and what a killed parent does to scoring processes: `test_command.py`.
"""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import mlflow.pyfunc
import psutil

from mlflow_ext.domain.stages import Stage
from mlflow_ext.registry.client import MlflowRegistry
from tests.conftest import wait_until
from tests.integration.registered import ROWS, pointed_at
from tests.integration.serving.service import Service, service

CODE = """
import subprocess, sys, time
from pathlib import Path
import mlflow
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def load_context(self, context):
        if "serving.host.process" in Path("/proc/self/cmdline").read_text():
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])

    def predict(self, context, model_input, params=None):
        if model_input["a"].iloc[0] == 2:
            Path({begun!r}).touch()
            while not Path({may_end!r}).exists():
                time.sleep(0.02)
        return [1.0] * len(model_input)

mlflow.models.set_model(Model())
"""
MODEL = "with an ending"


def registered(mlflow_url: str, name: str, directory: Path) -> None:
    """Put a pyfunc into Production that starts a process in its host, and on request answers when a file is there."""
    code = directory / "model.py"
    code.write_text(CODE.format(begun=str(directory / "begun"), may_end=str(directory / "may end")))
    with pointed_at(mlflow_url) as client:
        with mlflow.start_run() as run:
            info = mlflow.pyfunc.log_model(
                name="model", python_model=str(code), pip_requirements=[], input_example=ROWS[:1]
            )
        client.create_registered_model(name)
        client.create_model_version(name, info.model_uri, run_id=run.info.run_id, model_id=info.model_id)
        MlflowRegistry(client).set_stage(name, 1, Stage.PRODUCTION)


@contextlib.contextmanager
def running_with(name: str, database_url: str, mlflow_url: str, directory: Path, **settings: str) -> Iterator[Service]:
    """Run a service that may load the pyfunc, and wait until that answers."""
    registered(mlflow_url, name, directory)
    config = directory / "mlflow-ext.yaml"
    config.write_text(json.dumps({"models": {name: {"serving": {"trust": "code"}}}}))
    with service(database_url, mlflow_url, directory / "data", config=str(config), **settings) as running:
        running.wait_served(name, 1)
        yield running


def forking(running: Service) -> psutil.Process:
    """Give the process that hosts are forked from."""
    [pid] = running.hosts_pids()
    return psutil.Process(pid)


def lives(process: psutil.Process) -> bool:
    """Tell whether a process runs."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Give those that run."""
    return [one for one in processes if lives(one)]


def test_no_host_is_left_behind(mlflow_database_url: str, mlflow_url: str, tmp_path: Path) -> None:
    """Kill -9 of the scoring process, of the process of the hosts, of the service: each time the hosts go as well."""
    name = f"{MODEL} by kill"
    begun: list[psutil.Process] = []
    with running_with(name, mlflow_database_url, mlflow_url, tmp_path) as running:
        try:
            hosts = forking(running).children()
            with_theirs = forking(running).children(recursive=True)
            begun += with_theirs
            assert len(with_theirs) > len(hosts) > 0, "the model's own process is missing"
            [scoring] = running.scoring_pids()
            os.kill(scoring, signal.SIGKILL)
            wait_until(lambda: not living(with_theirs), 60, lambda: running.log)
            running.wait_served(name, 1)

            # what a model has started outlives this one death: nobody is left who knows of it
            hosts = forking(running).children()
            begun += forking(running).children(recursive=True)
            assert living(hosts)
            forking(running).kill()
            wait_until(lambda: not living(hosts), 60, lambda: running.log)
            running.wait_served(name, 1)

            family = psutil.Process(running.process.pid).children(recursive=True)
            begun += family
            assert set(forking(running).children()) < set(family)
            running.process.kill()
            wait_until(lambda: not living(family), 60, lambda: running.log)
        finally:
            for process in living(begun):
                process.kill()


def test_ctrl_c_answers_what_is_in_flight_and_leaves_nothing(
    mlflow_database_url: str, mlflow_url: str, tmp_path: Path
) -> None:
    """SIGINT to the whole group, as a terminal sends it, while a host computes a request: 200, then exit code 0."""
    name = f"{MODEL} by Ctrl-C"
    slow = {"dataframe_split": {"columns": ["a", "b"], "data": [[2.0, 1.0]]}}
    with (
        running_with(name, mlflow_database_url, mlflow_url, tmp_path, serving_stop_s="120") as running,
        ThreadPoolExecutor(1) as threads,
        httpx.Client(timeout=180) as client,
    ):
        family = psutil.Process(running.process.pid).children(recursive=True)
        answering = running.scoring_pids()
        asked = threads.submit(client.post, f"{running.url}/models/{name}/invocations", json=slow)
        try:
            wait_until((tmp_path / "begun").exists, 60, lambda: running.log)
            os.killpg(running.process.pid, signal.SIGINT)
            wait_until(lambda: refuses(running.url), 60, lambda: running.log)
            # hosts of other models may come and go
            assert len(living([one for one in family if one.pid in answering])) == len(answering) == 1
            assert not asked.done()
        finally:
            (tmp_path / "may end").touch()
        answer = asked.result(180)
        assert (answer.status_code, answer.json()) == (200, {"predictions": [1.0]})
        assert running.process.wait(60) == 0, running.log
        assert living(family) == []
        assert answer.headers["x-request-id"] in {record.request_id for record in running.records()}
    assert "child_killed" not in running.log


def refuses(url: str) -> bool:
    """Tell whether new connections are refused, or ended without an answer."""
    try:
        httpx.get(f"{url}/livez", timeout=1)
    except httpx.TransportError:
        return True
    return False
