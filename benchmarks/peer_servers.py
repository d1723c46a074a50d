"""Other model servers: the environment each needs, and how it serves one of the benchmark's models with one worker.

They get the same scikit-learn model and the same request body as we do. Measuring is in `peers.py`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import free_port

_SAME = ("scikit-learn==1.9.1", "pandas==3.0.6", "skops==0.16.0")
"""The model's own packages, as in requirements.lock."""
_BENTO = """
import bentoml, joblib, os, pandas as pd

@bentoml.service(workers=1, traffic={"timeout": 60})
class Model:
    def __init__(self):
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api
    def invocations(self, dataframe_split: dict) -> dict:
        frame = pd.DataFrame(dataframe_split["data"], columns=dataframe_split["columns"])
        return {"predictions": self.model.predict(frame).tolist()}
"""
_RAY = """
import joblib, os, shutil, signal, sys, threading, pandas as pd, ray
from ray import serve
from starlette.requests import Request

@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class Model:
    def __init__(self, file):
        self.model = joblib.load(file)

    async def __call__(self, request: Request):
        table = (await request.json())["dataframe_split"]
        frame = pd.DataFrame(table["data"], columns=table["columns"])
        return {"predictions": self.model.predict(frame).tolist()}

for attempt in range(5):
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[3])
        break
    # its node gives its agents 15 s to start, whatever is set (ray-project/ray#65983): too little on a busy machine
    except Exception:
        ray.shutdown()
else:
    raise SystemExit("its node did not start in five attempts: it gives its agents 15 s, ray-project/ray#65983")
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2]), "access_log": False})
serve.run(Model.bind(sys.argv[1]), route_prefix="/invocations", logging_config={"enable_access_log": False})
stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())
stopped.wait()
serve.shutdown()
ray.shutdown()
shutil.rmtree(sys.argv[3], ignore_errors=True)
"""


_RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # among processes of one machine, as the others serve
    "RAY_AUTH_MODE": "disabled",
    # on a busy machine importing alone takes longer than usual
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_agent_register_timeout_ms": "300000",
}


@dataclass(frozen=True, slots=True)
class Started:
    """How a server is started.

    Attributes:
        command: Its command line.
        ready: URL that answers once it is ready.
        url: URL that is asked.
        environment: Variables for it.
    """

    command: Sequence[str]
    ready: str
    url: str
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Peer:
    """Another server.

    Attributes:
        name: Its name.
        requirements: What its environment holds.
        start: By its environment's `bin`, a scratch directory and the model's files, how it is started.
        how: How it is set up, for the table.
    """

    name: str
    requirements: tuple[str, ...]
    start: Callable[[Path, Path, Path], Started]
    how: str


def _mlserver(binaries: Path, scratch: Path, model: Path) -> Started:
    ports = [free_port() for _ in range(3)]
    names = ("http_port", "grpc_port", "metrics_port")
    settings = {"parallel_workers": 0, "host": "127.0.0.1", "debug": False, **dict(zip(names, ports, strict=True))}
    (scratch / "settings.json").write_text(json.dumps(settings))
    runtime = "mlserver_mlflow.MLflowRuntime"
    described = {"name": "bench", "implementation": runtime, "parameters": {"uri": str(model)}}
    (scratch / "model-settings.json").write_text(json.dumps(described))
    url = f"http://127.0.0.1:{ports[0]}"
    return Started(
        [str(binaries / "mlserver"), "start", str(scratch)], f"{url}/v2/models/bench/ready", f"{url}/invocations", {}
    )


def _bentoml(binaries: Path, scratch: Path, model: Path) -> Started:
    (scratch / "service.py").write_text(_BENTO)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(binaries / "bentoml"), "serve", "service:Model", "--working-dir", str(scratch), "--port", str(port)]
    home = scratch / "home"
    home.mkdir(exist_ok=True)
    more = {"MODEL": str(model.with_suffix(".joblib")), "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true"}
    return Started([*command, "--host", "127.0.0.1"], f"{url}/readyz", f"{url}/invocations", more)


def _ray(binaries: Path, scratch: Path, model: Path) -> Started:
    (scratch / "service.py").write_text(_RAY)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    # Unix sockets below it have long names, and names of sockets have to be short
    sockets = Path(tempfile.gettempdir()) / f"ray-{port}"
    command = [str(binaries / "python"), str(scratch / "service.py"), str(model.with_suffix(".joblib")), str(port)]
    return Started([*command, str(sockets)], f"{url}/-/routes", f"{url}/invocations", _RAY_SETTINGS)


PEERS = (
    Peer(
        "MLServer",
        ("mlserver==1.7.1", "mlserver-mlflow==1.7.1", "mlflow==3.17.2", *_SAME),
        _mlserver,
        "1.7.1, its MLflow runtime, `/invocations`, parallel_workers 0",
    ),
    Peer("BentoML", ("bentoml==1.4.39", *_SAME), _bentoml, "1.4.39, one worker, without adaptive batching"),
    Peer("Ray Serve", ("ray[serve]==2.60.0", *_SAME), _ray, "2.60.0, one replica"),
)


def environment(peer: Peer, cache: Path) -> Path:
    """Make a peer's environment, or find it; gives its `bin`.

    Raises:
        RuntimeError: It cannot be installed; the message says why.
    """
    directory = cache / "-".join([peer.requirements[0].translate(str.maketrans("[]=", "---")), "py311"])
    complete = directory / ".complete"
    if complete.is_file() and complete.read_text() == "\n".join(peer.requirements):
        return directory / "bin"
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    cache.mkdir(parents=True, exist_ok=True)
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(directory)],
        [uv, "pip", "install", "--quiet", "--python", str(directory / "bin" / "python"), *peer.requirements],
    ):
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise RuntimeError(f"cannot be installed here: {' '.join(lines[-2:])[:200]}")
    complete.write_text("\n".join(peer.requirements))
    return directory / "bin"
