"""`mlflow.run_context_provider`: where a run's code came from, without a change in the notebook.

MLflow itself tags source, user and `mlflow.source.git.commit` of the main file; we add what a reproducibility gate asks
for. It runs inside everybody's `mlflow.start_run()`: it never raises, and asks git once for each directory.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlflow_ext.domain.retraining import RUN_TAG, TRIGGER_VARIABLE
from mlflow_ext.domain.run_tags import GIT_COMMIT, GIT_DIRTY

_log = logging.getLogger(__name__)

PROJECT = "mlflow_ext.project.name"
NOTEBOOK = "mlflow_ext.notebook.path"

_GIT_TIMEOUT_S = 2.0
_LONGEST_PROJECT_BYTES = 100_000
_NOTEBOOK_VARIABLES = ("JPY_SESSION_NAME", "__vsc_ipynb_file__", "IPYNB_FILE")


class LifecycleRunContext:
    """Tags every new run with commit, MLproject, notebook and retraining, as far as they are known.

    MLflow's registry calls the two methods and asks for no base class; importing the base here would import all of
    mlflow, which imports this module: a circle when we are imported first.
    """

    def in_context(self) -> bool:
        """Tell whether there is anything to say."""
        return bool(self.tags())

    def tags(self) -> dict[str, str]:
        """Give the run's tags; a source that fails is left out."""
        found: dict[str, str] = {}
        for source in _SOURCES:
            try:
                found.update(source())
            # whatever goes wrong here (a vanished directory, a broken shell object) must not cost anybody a run
            except Exception as exc:
                _log.debug("run_context_source_failed source=%s error=%r", source.__name__, exc)
        return found


def _git() -> dict[str, str]:
    return _git_of(str(_code_directory()))


def _project() -> dict[str, str]:
    file = next((path for path in (Path("MLproject"), _code_directory() / "MLproject") if path.is_file()), None)
    if file is None or file.stat().st_size > _LONGEST_PROJECT_BYTES:
        return {}
    name = _project_name(str(file.resolve()), file.stat().st_mtime_ns)
    return {PROJECT: name} if name else {}


@lru_cache(maxsize=64)
def _project_name(file: str, changed: int) -> str | None:
    import yaml

    document = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    name = document.get("name") if isinstance(document, dict) else None
    return str(name) if name else None


def _notebook() -> dict[str, str]:
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if not hasattr(shell, "kernel"):
        return {}
    named = [shell.user_ns.get("__vsc_ipynb_file__"), *(os.environ.get(variable) for variable in _NOTEBOOK_VARIABLES)]
    path = next((name for name in named if name), None)
    return {NOTEBOOK: str(path)} if path else {}


def _retraining() -> dict[str, str]:
    trigger = os.environ.get(TRIGGER_VARIABLE)
    return {RUN_TAG: trigger} if trigger else {}


_SOURCES: tuple[Callable[[], dict[str, str]], ...] = (_git, _project, _notebook, _retraining)


def _code_directory() -> Path:
    """Say where the code that runs stands: beside the main file, or here when that is a tool (mlflow, jupyter)."""
    main = Path(sys.argv[0]).resolve() if sys.argv and sys.argv[0] else None
    if main is None or not main.is_file() or main.is_relative_to(Path(sys.prefix).resolve()):
        return Path.cwd()
    return main.parent


@lru_cache(maxsize=64)
def _git_of(directory: str) -> dict[str, str]:
    """Ask git for commit and state of the working tree; untracked files do not count.

    No locks are taken and nothing of the repository's own is run (`core.fsmonitor` names a program).
    """
    try:
        answer = subprocess.run(
            [
                *("git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", directory, "status"),
                *("--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules=dirty"),
            ],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        _log.debug("git_did_not_answer error=%r", exc)
        return {}
    lines = answer.stdout.splitlines()
    commit = next((line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")), "")
    if answer.returncode or len(commit) < 40:  # "(initial)": a repository without a commit
        return {}
    return {GIT_COMMIT: commit, GIT_DIRTY: str(any(not line.startswith("#") for line in lines)).lower()}
