"""Opening a version in a model host: whatever it does there, the process that asked lives and says why."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import mlflow.pyfunc
import mlflow.sklearn
import psutil
import pytest

from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import UnavailableError
from mlflow_ext.registry.artifacts import directory_of
from serving.asked import Opened, frame
from serving.asked import write as written
from serving.host_opening import Hosts
from serving.host_request import LENGTH, ModelLoadError
from tests.conftest import wait_until
from tests.integration.registered import ROWS, constant
from tests.integration.serving.hosts import Opens, hosting

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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Opens, psutil.Process]]:
    """One such process for all tests of this file."""
    with hosting(tmp_path_factory.mktemp("hosts")) as found:
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


def living(process: psutil.Process) -> list[psutil.Process]:
    """Give the hosts, and what they have started."""
    found = []
    for one in process.children(recursive=True):
        # it may end while we look
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [one] if one.status() != psutil.STATUS_ZOMBIE else []
    return found


def test_a_host_lives_until_it_is_let_go(running: tuple[Opens, psutil.Process], tmp_path: Path) -> None:
    """Opening a small model takes little; when nobody wants its host, that ends; the first process has one thread."""
    opens, process = running
    mlflow.sklearn.save_model(constant(1.0), str(tmp_path / "m"), pip_requirements=[], input_example=ROWS)
    took = []
    for _ in range(4):
        began = time.perf_counter()
        opened = opens(tmp_path / "m")
        took.append(time.perf_counter() - began)
        [host] = living(process)
        assert not host.children()
        opened.close()
        wait_until(lambda: not living(process), 60)
        directory_of(ModelVersion("m", 1, source="models:/m-1"), tmp_path).rename(tmp_path / "m")
    print(f"\nopening a small model: {sorted(took)[2] * 1000:.0f} ms")
    threads = [task.read_text().strip() for task in Path(f"/proc/{process.pid}/task").glob("*/comm")]
    # jemalloc (in pyarrow) stops its own thread around a fork
    assert len([name for name in threads if name != "jemalloc_bg_thd"]) == 1


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
    running: tuple[Opens, psutil.Process], tmp_path: Path, line: str, reason: str
) -> None:
    """A crash, an exit, a hoard or an error at loading is told as the reason, and sees no settings of ours."""
    with pytest.raises(ModelLoadError, match=reason):
        running[0](made(tmp_path, load=line))


def test_endless_loops_are_ended(running: tuple[Opens, psutil.Process], tmp_path: Path) -> None:
    """A model that loads or predicts for ever is refused after the time that settings give, with all it started."""
    opens = replace(running[0], timeout_s=2)
    with pytest.raises(ModelLoadError, match="longer than 2 s"):
        opens(made(tmp_path, load="os.fork() or time.sleep(3600); time.sleep(3600)"))
    wait_until(lambda: not living(running[1]), 60)


def test_a_crash_at_its_own_input_example_is_told(running: tuple[Opens, psutil.Process], tmp_path: Path) -> None:
    """The input example is predicted there too, before it is here."""
    with pytest.raises(ModelLoadError, match="SIGABRT"):
        running[0](made(tmp_path, predict="os.abort()"))


def test_without_the_other_process_nothing_is_loaded(tmp_path: Path) -> None:
    """When nobody listens, that is a fault of ours which may pass, not the model's."""
    (tmp_path / "m").mkdir()
    with pytest.raises(UnavailableError, match="does not answer"):
        Opens(Hosts(tmp_path / "nobody"))(tmp_path / "m")


@contextlib.contextmanager
def lying(directory: Path, sizes: list[int], sent: bytes) -> Iterator[Hosts]:
    """Stand for the process of the hosts, and tell of a plan with these arrays, of which so much is sent."""
    address = Path(os.path.relpath(directory / "s"))
    told = Opened(
        *("digest", b"plan", sizes, None, False, None, b"{}", {}, 0, 0, 0, []),
    )

    def answer() -> None:
        control, _ = listening.accept()
        with control:
            length, descriptors, _, _ = socket.recv_fds(control, LENGTH.size, 1)
            control.recv(LENGTH.unpack(length)[0], socket.MSG_WAITALL)
            with socket.socket(fileno=descriptors[0]) as data:
                data.sendall(frame(0, written(told)) + sent)

    with socket.socket(socket.AF_UNIX) as listening, ThreadPoolExecutor(1) as thread:
        listening.bind(str(address))
        listening.listen()
        answered = thread.submit(answer)
        yield Hosts(address)
        answered.result(10)


@pytest.mark.parametrize(
    ("sizes", "sent", "reason"),
    [
        pytest.param([8, 2**62], b"", "more than 2147483648 bytes", id="more memory than it may take"),
        pytest.param([-1, 5], b"12345", "more than 2147483648 bytes", id="less than nothing"),
        pytest.param([8, 8], b"12345678", "ended while it sent", id="fewer than it said"),
    ],
)
def test_a_host_that_lies_about_its_plan(tmp_path: Path, sizes: list[int], sent: bytes, reason: str) -> None:
    """A model's code may have written its answer: what it says is bounded before memory is taken for it."""
    mlflow.sklearn.save_model(constant(1.0), str(tmp_path / "m"), pip_requirements=[], input_example=ROWS)
    with lying(tmp_path, sizes, sent) as hosts, pytest.raises(ModelLoadError, match=reason):
        Opens(hosts)(tmp_path / "m")
