"""Loading a model first in another process: whatever it does there, the process that asked lives and says why."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlflow.pyfunc
import mlflow.sklearn
import psutil
import pytest

from mlflow_ext.errors import UnavailableError
from serving.rehearsal import ModelLoadError, Rehearsal
from serving.rehearsal_process import ENVIRONMENT
from tests.conftest import wait_until
from tests.integration.registered import ROWS, constant

MODEL = """
import os, signal, time
import mlflow
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def load_context(self, context):
        pass  # loading

    def predict(self, context, model_input, params=None):
        pass  # predicting
        return [0.0] * len(model_input)

mlflow.models.set_model(Model())
"""


@contextlib.contextmanager
def rehearsing(directory: Path) -> Iterator[tuple[Rehearsal, psutil.Process]]:
    """Run the process in which models are loaded first."""
    with socket.socket(socket.AF_UNIX) as listening, (directory / "rehearsal.log").open("wb") as log:
        address = Path(os.path.relpath(directory / "s"))
        listening.bind(str(address))
        listening.listen(8)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "serving.rehearsal_process", "--fd", str(listening.fileno())],
            pass_fds=(listening.fileno(),),
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={**os.environ, **ENVIRONMENT, "MLFLOW_EXT_DATABASE_URL": "secret"},
        )
        try:
            yield Rehearsal(address, timeout_s=30, memory_bytes=2 * 1024**3), psutil.Process(process.pid)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rehearsal, psutil.Process]]:
    """One such process for all tests of this file."""
    with rehearsing(tmp_path_factory.mktemp("rehearsal")) as found:
        yield found


def made(directory: Path, load: str = "pass", predict: str = "pass") -> Path:
    """Save a model whose loading or predicting runs a line of Python; MLflow itself runs both when it saves one."""
    (directory / "model.py").write_text(MODEL)
    mlflow.pyfunc.save_model(
        str(directory / "m"), python_model=str(directory / "model.py"), pip_requirements=[], input_example=ROWS
    )
    code = MODEL.replace("pass  # loading", load).replace("pass  # predicting", predict)
    (directory / "m" / "model.py").write_text(code)
    return directory / "m"


def test_a_good_model_passes_and_leaves_nothing(running: tuple[Rehearsal, psutil.Process], tmp_path: Path) -> None:
    """A rehearsal of a small model takes little; its copies are gone, and the process has one thread to fork from."""
    rehearse, process = running
    mlflow.sklearn.save_model(constant(1.0), str(tmp_path / "m"), pip_requirements=[], input_example=ROWS)
    rehearse(tmp_path / "m")
    took = []
    for _ in range(5):
        began = time.perf_counter()
        rehearse(tmp_path / "m")
        took.append(time.perf_counter() - began)
    print(f"\nrehearsal of a small model: {sorted(took)[2] * 1000:.0f} ms, {process.memory_info().rss >> 20} MiB kept")
    assert min(took) < 2
    threads = [task.read_text().strip() for task in Path(f"/proc/{process.pid}/task").glob("*/comm")]
    # jemalloc (in pyarrow) stops its own thread around a fork
    assert len([name for name in threads if name != "jemalloc_bg_thd"]) == 1
    wait_until(lambda: not [one for one in process.children(recursive=True) if one.status() != "zombie"], 10)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ends the process \\(signal SIGSEGV\\)"),
        ("os._exit(0)", "ends the process \\(exit code 0\\)"),
        ("self.hoard = bytearray(64 << 30)", "takes more than 2147483648 bytes of memory"),
        ("self.hoard = [bytearray(1 << 20) for _ in range(1 << 20)]", "takes more than 2147483648 bytes of memory"),
        ("raise ValueError('no such table')", "no such table"),
        ("raise SystemExit(3)", "ends the process \\(exit code 1\\)"),
        ("open('big', 'wb').truncate(1 << 40)", "cannot be loaded|SIGXFSZ"),
        ("raise ValueError([n for n in os.environ if n.startswith('MLFLOW_EXT_')])", "ValueError: \\[\\]"),
    ],
)
def test_what_goes_wrong_at_loading_goes_wrong_elsewhere(
    running: tuple[Rehearsal, psutil.Process], tmp_path: Path, line: str, reason: str
) -> None:
    """A crash, an exit, a hoard or an error at loading is told as the reason, and sees no settings of ours."""
    with pytest.raises(ModelLoadError, match=reason):
        running[0](made(tmp_path, load=line))


def test_endless_loops_are_ended(running: tuple[Rehearsal, psutil.Process], tmp_path: Path) -> None:
    """A model that loads or predicts for ever is refused after the time that settings give, with all it started."""
    rehearse = replace(running[0], timeout_s=2)
    with pytest.raises(ModelLoadError, match="longer than 2 s"):
        rehearse(made(tmp_path, load="os.fork() or time.sleep(3600); time.sleep(3600)"))
    wait_until(lambda: not [one for one in running[1].children(recursive=True) if one.status() != "zombie"], 10)


def test_a_crash_at_its_own_input_example_is_told(running: tuple[Rehearsal, psutil.Process], tmp_path: Path) -> None:
    """The input example is predicted there too, before it is here."""
    with pytest.raises(ModelLoadError, match="SIGABRT"):
        running[0](made(tmp_path, predict="os.abort()"))


def test_without_the_other_process_nothing_is_loaded(tmp_path: Path) -> None:
    """When nobody listens, that is a fault of ours which may pass, not the model's."""
    with pytest.raises(UnavailableError, match="does not answer"):
        Rehearsal(tmp_path / "nobody", timeout_s=1)(tmp_path)
