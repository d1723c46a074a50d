"""The same request to MLflow's own scoring server and to ours: what must be equal, and what differs on purpose."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import mlflow.pyfunc
from fastapi import FastAPI
from mlflow.pyfunc import scoring_server

from serving.codecs import mlflow_protocol
from serving.host.compiling import compile_plan
from serving.host.opened import OpenedVersion
from serving.pool import LoadedVersion
from tests.unit.serving.host_here import hosted
from tests.unit.serving.in_process import App, app, served

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Pair:
    """MLflow's server and ours, for the same models."""

    theirs: httpx.Client
    ours: App
    tolerance: float = 0.0
    """By how much predicted numbers may differ: relative to those above 1, else absolute."""

    def compare(self, model: str, body: bytes, content_type: str | None = JSON) -> int:
        """Send a body to both; fails where they differ in an unlisted way, and gives our status."""
        headers = {"Content-Type": content_type} if content_type is not None else {}
        theirs = self.theirs.post(f"/{model}/invocations", content=body, headers=headers)
        ours = self.ours.client.post(f"/models/{model}/invocations", content=body, headers=headers)
        if ours.status_code != 200:
            assert set(ours.json()) >= {"error_code", "message", "request_id"}
            assert "stack_trace" not in ours.json()
        if theirs.status_code == 500:
            # MLflow lets parser errors through as a bare 500; ours says which side is at fault
            unwritable = ours.json()["message"] == "The model's predictions cannot be written as JSON."
            assert ours.status_code == (415 if content_type is None else 500 if unwritable else 400), ours.text
        else:
            assert ours.status_code == theirs.status_code, (ours.text, theirs.text)
            assert comparable(ours) == comparable(theirs) or self.nearly(ours, theirs), (ours.text, theirs.text)
        return ours.status_code

    def nearly(self, ours: httpx.Response, theirs: httpx.Response) -> bool:
        """Tell whether two answers are the same numbers but for a rounding that is allowed here."""
        if not self.tolerance or ours.status_code != 200:
            return False
        mine, others = ours.json()["predictions"], theirs.json()["predictions"]
        numbers = all(isinstance(one, float) for one in (*mine, *others))
        pairs = zip(mine, others, strict=True) if numbers and len(mine) == len(others) else [(1.0, 0.0)]
        return all(abs(one - other) <= self.tolerance * max(1.0, abs(other)) for one, other in pairs)


def comparable(answer: Any) -> Any:
    """Take off what differs on purpose: trace, request id, echoed input, and text where ours is JSON."""
    try:
        document = answer.json()
    except json.JSONDecodeError:
        return answer.text
    if answer.status_code == 200:
        # NaN is not equal to itself
        return json.dumps(document)
    if answer.status_code == 415:
        return document["message"]
    document = {key: value for key, value in document.items() if key not in {"stack_trace", "request_id"}}
    message = document["message"].partition("\nInput: \n")[0]
    if message.startswith("Failed to predict data"):
        message = message.partition("\nError: ")[2]
    return {**document, "message": message}


def load(name: str, path: str) -> LoadedVersion:
    """Load a model's files as the service does, plan included."""
    model = mlflow.pyfunc.load_model(path)
    schema = model.metadata.get_input_schema()
    opened = OpenedVersion(name, 1, path, model, schema)
    made = compile_plan(model, schema, partial(mlflow_protocol.accepted, opened))
    return hosted(replace(opened, plan=made.plan if made else None), made)


@contextlib.contextmanager
def both(
    models: Mapping[str, str],
    directory: Path,
    load: Callable[[str, str], LoadedVersion] = load,
    tolerance: float = 0.0,
) -> Iterator[Pair]:
    """Run both servers with all models; by name, where the files are."""
    theirs = FastAPI()
    for name, path in models.items():
        theirs.mount(f"/{name}", scoring_server.init(mlflow.pyfunc.load_model(path)))
    versions = [load(name, path) for name, path in models.items()]
    # MLflow lets some errors through, after which the web server closes the connection, be it in use again already
    with served(theirs, keep_alive=False) as client, app(directory, *versions) as ours:
        yield Pair(client, ours, tolerance)
