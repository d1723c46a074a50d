"""The wheel: what `pip install` gives a user who has no checkout."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import wait_until

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).with_name("uv"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    run([UV, "build", "--quiet", "--wheel", "--out-dir", str(directory), str(ROOT)])
    return next(directory.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a new environment with the wheel in it, without the extra `local`."""
    return environment_with(str(wheel), tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def installed_local(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a new environment with the wheel and its extra `local`."""
    return environment_with(f"{wheel}[local]", tmp_path_factory.mktemp("local"))


def environment_with(requirement: str, directory: Path) -> Path:
    """Make a new environment, with the tested versions of what the requirement pulls in."""
    run([UV, "venv", "--quiet", "--python", sys.executable, str(directory / "venv")])
    python = str(directory / "venv/bin/python")
    constraints = str(ROOT / "requirements.lock")
    run([UV, "pip", "install", "--quiet", "--python", python, "--constraints", constraints, requirement])
    return directory / "venv/bin"


def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command outside the checkout's environment."""
    environ = {
        key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "VIRTUAL_ENV", "PYTHON"))
    }
    return subprocess.run(command, **{"check": True, "capture_output": True, "text": True, "env": environ, **options})


def test_the_wheel_brings_the_whole_product(installed: Path, tmp_path: Path) -> None:
    """Command, migrations, templates, `serving` and `drift` are in the wheel, and every MLflow entry point loads."""
    assert "mlflow-ext" in run([str(installed / "mlflow-ext"), "--version"], cwd=tmp_path).stdout
    code = (
        "import importlib.metadata as m, importlib.resources as r, mlflow_ext, serving, drift\n"
        "points = m.distribution('mlflow-ext').entry_points\n"
        "[p.load() for p in points]\n"
        "assert r.files('mlflow_ext.store.migrations.versions').joinpath('0001_first_tables.py').is_file()\n"
        "assert any(r.files('mlflow_ext.dashboard').joinpath('templates').iterdir())\n"
        "print(len(points))\n"
    )
    assert int(run([str(installed / "python"), "-c", code], cwd=tmp_path).stdout.split()[-1]) >= 6


def test_without_the_extra_and_without_a_database_up_says_what_to_do(installed: Path, tmp_path: Path) -> None:
    """`mlflow-ext up` names both ways out, starts nothing, and exits 1."""
    result = run(
        [str(installed / "mlflow-ext"), "up", "--mlflow-port", "0", "--serving-port", "0"], cwd=tmp_path, check=False
    )
    assert result.returncode == 1
    assert "mlflow-ext[local]" in result.stderr
    assert "MLFLOW_EXT_DATABASE_URL" in result.stderr
    assert "Traceback" not in result.stderr


def test_with_the_extra_a_new_environment_has_a_working_up(installed_local: Path, directory: Path) -> None:
    """`pip install 'mlflow-ext[local]'` and `mlflow-ext up`, nothing else, end in a ready platform that stops."""
    log = directory / "up.log"
    environ = {
        key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "VIRTUAL_ENV", "PYTHON"))
    }
    with log.open("wb") as output:
        up = subprocess.Popen(
            [str(installed_local / "mlflow-ext"), "up", "--mlflow-port", "0", "--serving-port", "0"],
            cwd=directory,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(lambda: "Ctrl-C stops everything" in log.read_text() or up.poll() is not None, 120, log.read_text)
        assert up.poll() is None, log.read_text()
        run([str(installed_local / "mlflow-ext"), "status"], cwd=directory)
    finally:
        up.send_signal(signal.SIGTERM)
        code = up.wait(60)
    assert code == 0, log.read_text()
