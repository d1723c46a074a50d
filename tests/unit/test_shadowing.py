"""Another `serving` or `drift` on the import path is found before it is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_ext.errors import InvalidSettingsError
from mlflow_ext.shadowing import check_not_shadowed


def test_ours_pass() -> None:
    """As installed, the packages are ours."""
    check_not_shadowed()


def test_a_package_elsewhere_is_named(tmp_path: Path) -> None:
    """A package that is found elsewhere is named with its place and the way out."""
    with pytest.raises(InvalidSettingsError, match=r"'serving' .* is hidden by another one: it is found at .*serving"):
        check_not_shadowed(home=tmp_path)
    with pytest.raises(InvalidSettingsError, match="found at nowhere"):
        check_not_shadowed(("no_such_package_anywhere",))


@pytest.mark.parametrize("kind", ["package", "module", "namespace"])
@pytest.mark.parametrize("command", ["serve", "drift"])
def test_commands_refuse_to_run(tmp_path: Path, kind: str, command: str) -> None:
    """Both commands end with one clear line when another package hides ours, and never import it."""
    name = "serving" if command == "serve" else "drift"
    if kind == "module":
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')")
    else:
        (tmp_path / name).mkdir()
        file = "__init__.py" if kind == "package" else "command.py"
        (tmp_path / name / file).write_text("raise SystemExit('imported')")
    done = subprocess.run(
        [sys.executable, "-m", "mlflow_ext.cli", command, "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    if kind == "namespace" and done.returncode == 0:
        # a directory without __init__.py never comes before a package, wherever it is on the path
        return
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the Python package '{name}' of mlflow-ext is hidden by another one" in done.stderr
