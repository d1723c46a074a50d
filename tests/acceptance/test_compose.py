"""docker-compose.yml, without Docker: it is held against its schema, and its commands run as processes."""

import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import answers, free_port, wait_until

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
OURS = ("upgrade", "mlflow", "serving", "drift")


def test_it_keeps_to_the_compose_specification() -> None:
    """The compose specification's own JSON schema has nothing to complain about."""
    command = [
        str(BIN / "check-jsonschema"),
        "--builtin-schema",
        "vendor.compose-spec",
        str(ROOT / "docker-compose.yml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_four_parts_are_there_on_postgresql_18() -> None:
    """PostgreSQL, MLflow, the promotion service and the drift scheduler, and the migration before them."""
    assert set(SERVICES) == {"postgres", *OURS}
    assert SERVICES["postgres"]["image"] == "postgres:18"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_ports_are_open_on_this_machine_only(name: str) -> None:
    """No port is published beyond the loopback address, and PostgreSQL's not at all."""
    ports = SERVICES[name].get("ports", [])
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert name in {"mlflow", "serving"} or ports == []


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_secrets_are_files(name: str) -> None:
    """No password stands in an environment: secrets come as files, and every file that is named is mounted."""
    service = SERVICES[name]
    environment = {key: str(value) for key, value in service["environment"].items()}
    assert [key for key, value in environment.items() if re.search(r"://[^/]*:[^/]*@", value)] == []
    assert [key for key in environment if "PASSWORD" in key and not key.endswith("_FILE")] == []
    mounted = {f"/run/secrets/{secret}" for secret in service["secrets"]}
    assert {value for key, value in environment.items() if key.endswith("_FILE")} == mounted
    assert set(service["secrets"]) <= set(COMPOSE["secrets"])


@pytest.mark.parametrize("name", ["postgres", "mlflow", "serving", "drift"])
def test_whoever_waits_waits_for_health(name: str) -> None:
    """Every lasting service has a health check and a volume, and starts after what it needs is well."""
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert all(volume.partition(":")[0] in COMPOSE["volumes"] for volume in service["volumes"])
    conditions = {other: wait["condition"] for other, wait in service.get("depends_on", {}).items()}
    assert all(
        condition == ("service_completed_successfully" if other == "upgrade" else "service_healthy")
        for other, condition in conditions.items()
    )


def test_the_image_runs_as_an_ordinary_user_with_locked_versions() -> None:
    """The last USER is not root, versions come from requirements.lock, and every file that is copied is sent along."""
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)[-1].partition(":")[0] not in {"root", "0"}
    assert "--constraint /tmp/requirements.lock" in DOCKERFILE
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)]
    sources = {source for line in copied for source in line}
    assert sources
    assert sources <= sent
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_secrets_are_made_once_and_fit_together(tmp_path: Path) -> None:
    """`deploy/make-secrets` writes a random password and the URL that holds it, and keeps what is there."""
    make = [str(ROOT / "deploy/make-secrets"), str(tmp_path)]
    subprocess.run(make, check=True)
    password, url = (tmp_path / "postgres_password").read_text(), (tmp_path / "database_url").read_text()
    assert re.fullmatch(r"[0-9a-f]{48}", password)
    assert url == f"postgresql://mlflow:{password}@postgres:5432/mlflow"
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    subprocess.run(make, check=True)
    assert (tmp_path / "postgres_password").read_text() == password


class Machine:
    """This machine in the place of the containers: host names, ports and paths are put in the place of theirs."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self.directory = directory
        self.ports = {"mlflow": free_port(), "serving": free_port()}
        (directory / "secrets").mkdir(mode=0o700)
        (directory / "secrets" / "database_url").write_text(database_url)

    def here(self, name: str, value: str) -> str:
        """Put one value of a service's environment into this machine's terms."""
        volume = SERVICES[name]["volumes"][0].partition(":")[0]
        for theirs, ours in {
            "/run/secrets/": f"{self.directory}/secrets/",
            COMPOSE["x-ours"]["configs"][0]["target"]: str(ROOT / COMPOSE["configs"]["policy"]["file"]),
            "mlflow:5000": f"127.0.0.1:{self.ports['mlflow']}",
            "serving:8000": f"127.0.0.1:{self.ports['serving']}",
        }.items():
            value = value.replace(theirs, ours)
        whole = {"/data": self.directory / volume, "5000": self.ports["mlflow"], "8000": self.ports["serving"]}
        return str(whole.get(value, value))

    def environment(self, name: str) -> dict[str, str]:
        """Give exactly the environment of a service: the image's, the service's, and nothing of the tests'."""
        (instructions,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
        image = dict(word.split("=", 1) for word in shlex.split(instructions.replace("\\\n", " ")))
        own = {key: self.here(name, str(value)) for key, value in SERVICES[name]["environment"].items()}
        return {"PATH": f"{BIN}:{os.environ['PATH']}", **image, **own}

    def run(self, name: str, command: list[str]) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end as in the service's container."""
        return subprocess.run(
            command, cwd=self._home(name), env=self.environment(name), capture_output=True, text=True, check=False
        )

    @contextmanager
    def started(self, name: str) -> Iterator[None]:
        """Run a service's command until its health check passes, and stop it as Docker does."""
        log = self.directory / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                SERVICES[name]["command"],
                cwd=self._home(name),
                env=self.environment(name),
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        check = SERVICES[name]["healthcheck"]["test"][1:]
        paths = {"mlflow": "/health", "serving": "/readyz"}
        try:
            if name in paths:
                # a check is a process of its own: not worth asking before anything answers
                url = f"http://127.0.0.1:{self.ports[name]}{paths[name]}"
                wait_until(lambda: process.poll() is not None or answers(url), 180, log.read_text)
            wait_until(lambda: process.poll() is None and self.run(name, check).returncode == 0, 120, log.read_text)
            yield
        finally:
            process.terminate()
            process.wait(60)

    def _home(self, name: str) -> Path:
        home = self.directory / SERVICES[name]["volumes"][0].partition(":")[0]
        home.mkdir(exist_ok=True)
        return home


@pytest.mark.timeout(600)  # three services that import MLflow, one after the other
def test_every_service_runs_and_passes_its_health_check(tmp_path: Path, empty_database_url: str) -> None:
    """Each service's exact command and environment, as processes here: migration, MLflow, serving, drift."""
    machine = Machine(tmp_path, empty_database_url)
    unwell = [name for name in OURS[1:] if machine.run(name, SERVICES[name]["healthcheck"]["test"][1:]).returncode == 0]
    assert unwell == []
    upgraded = machine.run("upgrade", SERVICES["upgrade"]["command"])
    assert upgraded.returncode == 0, upgraded.stderr
    with machine.started("mlflow"), machine.started("serving"), machine.started("drift"):
        for name in OURS[1:]:
            done = machine.run(name, SERVICES[name]["healthcheck"]["test"][1:])
            assert done.returncode == 0, done.stdout + done.stderr
