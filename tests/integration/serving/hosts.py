"""The real process of the model hosts, for tests that need no whole service."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.policy import ServingPolicy
from mlflow_ext.registry.artifacts import directory_of
from mlflow_ext.registry.model_files import manifest_of
from serving.host.environment import HOSTS
from serving.host_opening import Hosts, OpenedHost
from serving.host_request import HostRequest


@dataclass(frozen=True, slots=True)
class Opens:
    """Opens files as a version, as the loader does where MLflow is away."""

    hosts: Hosts
    timeout_s: float = 30
    logged: tuple[str, ...] = ()

    def __call__(self, files: Path) -> OpenedHost:
        """Open files of a model."""
        version = ModelVersion("m", 1, source="models:/m-1")
        directory = directory_of(version, files.parent)
        directory.parent.mkdir(parents=True, exist_ok=True)
        files.rename(directory)
        return self.hosts.open(
            HostRequest(
                version=version,
                mlflow_url="http://127.0.0.1:1",
                directory=files.parent,
                policy=ServingPolicy(trust="code", warm_within_s=120),
                digest=manifest_of(directory).digest,
                logged=self.logged,
                timeout_s=self.timeout_s,
                memory_bytes=2 * 1024**3,
            )
        )


@contextlib.contextmanager
def hosting(directory: Path) -> Iterator[tuple[Opens, psutil.Process]]:
    """Run the process that hosts are forked from."""
    with socket.socket(socket.AF_UNIX) as listening, (directory / "hosts.log").open("wb") as log:
        address = Path(os.path.relpath(directory / "s"))
        listening.bind(str(address))
        listening.listen(8)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "serving.host.process", "--fd", str(listening.fileno())],
            pass_fds=(listening.fileno(),),
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={**os.environ, **HOSTS, "MLFLOW_EXT_DATABASE_URL": "secret"},
        )
        try:
            yield Opens(Hosts(address)), psutil.Process(process.pid)
        finally:
            process.kill()
            process.wait()
