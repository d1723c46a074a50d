"""What a load asks of a model host, and what it does with the plan that comes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import UnavailableError
from mlflow_ext.policy import ModelPolicy
from serving.bounds import DEFAULT
from serving.host_opening import Hosts, OpenedHost
from serving.host_request import HostRequest, ModelLoadError
from serving.kernels import Rows
from serving.loader import Loader, LoadSettings, warm
from serving.metrics import Metrics
from serving.plan import CompiledPlan, plan_of

KNOWN = json.dumps({"dataframe_split": {"columns": ["a"], "data": [[1.0], [2.0]]}}).encode()
UNKNOWN = json.dumps({"inputs": [[1.0]]}).encode()


@dataclass(frozen=True, slots=True)
class Asked(Hosts):
    """Opens nothing, and remembers what was asked."""

    address: Path = Path("nowhere")
    requests: list[HostRequest] = field(default_factory=list)

    def open(self, request: HostRequest) -> OpenedHost:
        """Refuse."""
        self.requests.append(request)
        raise ModelLoadError("it is not opened here")


def segments(model: str) -> Sequence[str]:
    """Name segments of a model."""
    return [f"/segments/{model}.parquet"]


def away(model: str) -> Sequence[str]:
    """Do not know."""
    raise UnavailableError("PostgreSQL does not answer")


@pytest.mark.parametrize(
    ("logged", "rows", "is_warm", "asked"),
    [
        (segments, 64, True, ("/segments/m.parquet",)),
        (segments, 64, False, ()),
        (segments, 0, True, ()),
        (away, 64, True, ()),
    ],
)
def test_which_logged_requests_a_version_predicts(
    logged: Any, rows: int, is_warm: bool, asked: tuple[str, ...]
) -> None:
    """Those of its model's newest segments; none where none are wanted, or where they cannot be found."""
    hosts = Asked()
    policy = ModelPolicy.model_validate({"serving": {"warm_rows": rows}})
    settings = LoadSettings("http://127.0.0.1:1", Path("models"), 60, 1 << 30, 2, DEFAULT, 30)
    loader = Loader(hosts, settings, lambda _: policy, lambda *_: None, lambda *_: None, Metrics(), logged)
    with pytest.raises(ModelLoadError):
        loader.load(ModelVersion("m", 1), warm=is_warm)
    with pytest.raises(ModelLoadError):
        loader.load_again(ModelVersion("m", 1), "digest")
    assert [request.logged for request in hosts.requests] == [asked, ()]


def test_a_plan_answers_what_its_version_has_answered() -> None:
    """Requests that it knows are computed; others, and what it fails on, are left to the version."""
    computed: list[Rows] = []

    def compute(rows: Rows) -> Any:
        computed.append(rows)
        if len(computed) == 2:
            raise RuntimeError("the runtime is out of sorts")
        return np.zeros(len(rows))

    plan = plan_of(CompiledPlan((("a", "double"),), "kernel", None, batches=True, inline=True), compute)
    warm(plan, [UNKNOWN, KNOWN, KNOWN, b"{", KNOWN])
    assert computed == [[(1.0,), (2.0,)]] * 3


def test_what_its_host_computes_is_not_computed_here() -> None:
    """A plan whose model stays in the host has nothing to warm in the scoring process."""
    computed: list[Rows] = []

    def here(rows: Rows) -> Any:
        computed.append(rows)
        return np.zeros(len(rows))

    async def apart(rows: Rows) -> Any:
        return np.zeros(len(rows))

    compiled = CompiledPlan((("a", "double"),), "python", None, batches=True, inline=False)
    warm(plan_of(compiled, here, apart), [KNOWN])
    assert computed == []
