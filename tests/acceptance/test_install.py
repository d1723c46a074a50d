"""The wheel: what `pip install` gives a user who has no checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a new environment with the wheel in it, without the extra `local`."""
    directory = tmp_path_factory.mktemp("install")
    uv = str(Path(sys.executable).with_name("uv"))
    run([uv, "build", "--quiet", "--wheel", "--out-dir", str(directory), str(ROOT)])
    wheel = next(directory.glob("*.whl"))
    environment = directory / "venv"
    run([uv, "venv", "--quiet", "--python", sys.executable, str(environment)])
    python = str(environment / "bin/python")
    run(
        [
            uv,
            "pip",
            "install",
            "--quiet",
            "--python",
            python,
            "--constraints",
            str(ROOT / "requirements.lock"),
            str(wheel),
        ]
    )
    return environment / "bin"


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
        "points = [p for p in m.entry_points() if p.dist and p.dist.name == 'mlflow-ext']\n"
        "[p.load() for p in points]\n"
        "assert r.files('mlflow_ext.store.migrations.versions').joinpath('0001_first_tables.py').is_file()\n"
        "assert any(r.files('mlflow_ext.dashboard').joinpath('templates').iterdir())\n"
        "print(len(points))\n"
    )
    assert int(run([str(installed / "python"), "-c", code], cwd=tmp_path).stdout.split()[-1]) >= 6


def test_without_the_extra_and_without_a_database_up_says_what_to_do(installed: Path, tmp_path: Path) -> None:
    """`mlflow-ext up` names both ways out, starts nothing, and exits 1."""
    result = run([str(installed / "mlflow-ext"), "up"], cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert "mlflow-ext[local]" in result.stderr
    assert "MLFLOW_EXT_DATABASE_URL" in result.stderr
    assert "Traceback" not in result.stderr
