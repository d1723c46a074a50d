"""What the run-context provider says of a run, and that it never stands in the way."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlflow_ext.plugins import run_context
from mlflow_ext.plugins.run_context import LifecycleRunContext


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A git repository with one commit, the working directory and the home of the main file."""
    git(tmp_path, "init", "-q")
    (tmp_path / "train.py").write_text("print(1)\n")
    (tmp_path / ".gitignore").write_text("out\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "one")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "train.py")])
    monkeypatch.delenv("MLFLOW_EXT_RETRAINING_TRIGGER_ID", raising=False)
    run_context._git_of.cache_clear()
    yield tmp_path
    run_context._git_of.cache_clear()


def git(directory: Path, *arguments: str) -> str:
    """Call git."""
    return subprocess.run(["git", *arguments], cwd=directory, check=True, capture_output=True, text=True).stdout.strip()


def test_a_clean_commit(repository: Path) -> None:
    """Commit and `false`; untracked and ignored files do not make it dirty."""
    (repository / "new.txt").write_text("x")
    assert LifecycleRunContext().tags() == {
        "mlflow_ext.git.commit": git(repository, "rev-parse", "HEAD"),
        "mlflow_ext.git.dirty": "false",
    }


def test_a_changed_file_makes_it_dirty(repository: Path) -> None:
    """What ran is not what is committed."""
    (repository / "train.py").write_text("print(2)\n")
    assert LifecycleRunContext().tags()["mlflow_ext.git.dirty"] == "true"


def test_git_is_asked_once_for_each_directory(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand runs in one process start one git; the others cost next to nothing."""
    provider = LifecycleRunContext()
    first = provider.tags()
    monkeypatch.setenv("PATH", "")
    start = time.perf_counter()
    for _ in range(100):
        assert provider.in_context()
        assert provider.tags() == first
    assert (time.perf_counter() - start) / 100 < 0.05


def test_mlflows_own_tags_are_left_to_mlflow(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key is ours."""
    monkeypatch.setenv("MLFLOW_EXT_RETRAINING_TRIGGER_ID", "7")
    (repository / "MLproject").write_text("name: wine\n")
    assert all(key.startswith("mlflow_ext.") for key in LifecycleRunContext().tags())


def test_project_and_retraining(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The MLproject's name and the trigger that a retraining hands down."""
    (repository / "MLproject").write_text("name: wine quality\nentry_points: {}\n")
    monkeypatch.setenv("MLFLOW_EXT_RETRAINING_TRIGGER_ID", "42")
    tags = LifecycleRunContext().tags()
    assert (tags["mlflow_ext.project.name"], tags["mlflow_ext.retraining"]) == ("wine quality", "42")


def test_a_notebook_names_its_path(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel, what Jupyter or VS Code says of the notebook."""
    shell = SimpleNamespace(kernel=object(), user_ns={})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert "mlflow_ext.notebook.path" not in LifecycleRunContext().tags()
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/wine.ipynb")
    assert LifecycleRunContext().tags()["mlflow_ext.notebook.path"] == "/notebooks/wine.ipynb"


@pytest.mark.parametrize("content", ["{", "- a", "name:", "\x00", "name: [unclosed"])
def test_a_broken_project_file_is_no_error(repository: Path, content: str) -> None:
    """The other tags are still there."""
    (repository / "MLproject").write_text(content)
    assert "mlflow_ext.project.name" not in LifecycleRunContext().tags()
    assert "mlflow_ext.git.commit" in LifecycleRunContext().tags()


def test_outside_a_repository_there_is_nothing_to_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No repository, no main file: not in context."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [""])
    monkeypatch.delenv("MLFLOW_EXT_RETRAINING_TRIGGER_ID", raising=False)
    assert not LifecycleRunContext().in_context()


def test_a_directory_that_vanished_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run may outlive the directory it was started in."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setattr(sys, "argv", [""])
    gone.rmdir()
    assert LifecycleRunContext().tags().keys() <= {"mlflow_ext.retraining"}


def test_a_git_that_hangs_is_given_up(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system that does not answer costs the timeout once."""
    slow = repository / "out" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:/usr/bin:/bin")
    monkeypatch.setattr(run_context, "_GIT_TIMEOUT_S", 0.1)
    start = time.perf_counter()
    assert [LifecycleRunContext().tags() for _ in range(3)] == [{}] * 3
    assert time.perf_counter() - start < 5


def test_mlflow_uses_it(repository: Path) -> None:
    """The entry point is found, and MLflow's own tags stay beside ours."""
    from mlflow.tracking.context.registry import resolve_tags

    tags = resolve_tags()
    assert tags["mlflow_ext.git.commit"] == git(repository, "rev-parse", "HEAD")
    assert tags["mlflow.source.name"]
