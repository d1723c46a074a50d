"""The house keeps its shape: import rules, file sizes, plugin modules that are cheap to import."""

import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[2]


def tracked(*patterns: str) -> list[Path]:
    """Files that git tracks."""
    listed = subprocess.run(
        ["git", "ls-files", "--", *patterns], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def test_no_arrow_runs_back_up() -> None:
    """The import rules of .importlinter hold."""
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_no_file_is_longer_than_400_lines() -> None:
    """A file over 400 lines is two files."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}


def test_no_grab_bags() -> None:
    """No module is called after nothing in particular."""
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    assert [path for path in tracked("*.py") if path.stem in vague] == []


def test_every_package_is_listed() -> None:
    """setup.cfg lists exactly the packages that exist."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in tracked("mlflow_ext/**", "serving/**", "drift/**")
        if path.suffix == ".py"
    }
    assert listed == found


def test_no_path_of_one_machine_is_committed() -> None:
    """Tracked files name no home directory."""
    pattern = re.compile(r"/(?:root|home/[a-z]+|Users/[A-Za-z]+)/")
    found = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.suffix not in {".png", ".lock", ".ipynb", ".parquet"}
        and path != Path(__file__)
        and pattern.search(path.read_text(encoding="utf-8", errors="ignore"))
    ]
    assert found == []


def test_plugin_modules_are_cheap_to_import() -> None:
    """An entry point's module pulls in no database driver, web framework or data frame library by itself.

    Base classes that an entry point must subclass come from mlflow, so what those modules load anyway is allowed.
    """
    code = (
        "import importlib, sys\n"
        "import mlflow.deployments, mlflow.tracking.context.abstract_context, mlflow.models.evaluation.base\n"
        "before = set(sys.modules)\n"
        "for module in sys.argv[1:]: importlib.import_module(f'mlflow_ext.plugins.{module}')\n"
        "added = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "dear = {'sqlalchemy', 'psycopg2', 'fastapi', 'pandas', 'evidently', 'httpx', 'alembic', 'serving', 'drift'}\n"
        "sys.exit(', '.join(sorted(added & dear)) or 0)\n"
    )
    modules = sorted(path.stem for path in tracked("mlflow_ext/plugins/*.py") if path.stem != "__init__")
    assert "registry_store" in modules
    result = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_command_line_starts_without_heavy_imports() -> None:
    """`mlflow-ext --help` loads every command's module, but neither mlflow nor pandas nor evidently."""
    code = (
        "import sys\n"
        "from mlflow_ext.cli import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "dear = {'mlflow', 'pandas', 'evidently', 'sklearn', 'fastapi'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(dear)) or 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
