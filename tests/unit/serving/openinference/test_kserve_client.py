"""The protocol as KServe's own client speaks it, in an environment apart: it wants older versions of what we use."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.serving.openinference.models import serving

CLIENT = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

url = sys.argv[1]

def column(name, binary):
    made = InferInput(name, [2], "FP64")
    made.set_data_from_numpy(np.array([1.0, 2.0]), binary_data=binary)
    return made

async def main():
    client, said = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=20)), {}
    said["health"] = [await client.is_server_live(url), await client.is_server_ready(url),
                      await client.is_model_ready(url, "numbers"), await client.is_model_ready(url, "nobody")]
    for binary in (False, True):
        request = InferRequest("numbers", [column(name, binary) for name in "abc"], request_id="k-1",
                               parameters={"binary_data_output": binary})
        answer = await client.infer(url, request, model_name="numbers")
        output = answer.outputs[0]
        said[str(binary)] = [answer.id, answer.model_name, output.name, output.datatype, output.as_numpy().tolist()]
    try:
        await client.infer(url, InferRequest("numbers", [column("a", True)]), model_name="numbers")
    except Exception as exc:
        said["refused"] = str(exc)
    print(json.dumps(said))

asyncio.run(main())
"""


@pytest.mark.slow
def test_kserves_client(tmp_path: Path) -> None:
    """KServe's client finds the service live and ready, infers with JSON and raw bytes, and reads a refusal."""
    uv = Path(sys.executable).with_name("uv")
    python = tmp_path / "environment/bin/python"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, python.parents[1]], check=True)
    installed = subprocess.run(
        [uv, "pip", "install", "-q", "--python", python, "kserve>=0.21,<0.22"], capture_output=True, check=False
    )
    if installed.returncode != 0:
        pytest.skip(f"kserve cannot be installed here: {installed.stderr[-200:]!r}")
    with serving(tmp_path, "numbers") as running:
        url = str(running.client.base_url)
        client = subprocess.run([python, "-c", CLIENT, url], capture_output=True, text=True, timeout=120, check=False)
    assert client.returncode == 0, client.stderr
    said: dict[str, Any] = json.loads(client.stdout.splitlines()[-1])
    assert said["health"] == [True, True, True, False]
    for binary in ("False", "True"):
        assert said[binary] == ["k-1", "numbers", "total", "FP64", [3.0, 6.0]]
    assert "'b', 'c' is missing" in said["refused"]
