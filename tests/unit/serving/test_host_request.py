"""A request for a model host as a message: it arrives as it was sent, and nothing else arrives."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlflow_ext.domain.pins import FileDigest, Manifest
from mlflow_ext.domain.stages import ModelVersion, Stage
from mlflow_ext.domain.twins import JudgedTwin, TwinFacts
from mlflow_ext.policy import PrivacyPolicy, ServingPolicy
from serving.bounds import Bounds
from serving.host_request import HostRequest, read, write

BARE = HostRequest(ModelVersion("m", 1), "http://127.0.0.1:5000", Path("/data/models"), ServingPolicy())
FULL = HostRequest(
    version=ModelVersion(
        *("née ünï 日本", 7, Stage.STAGING, ("a", "b"), {"stage": "Staging"}, "run", "models:/m-1", "text"),
        updated_at=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
        workspace="other",
    ),
    mlflow_url="http://127.0.0.1:5000",
    directory=Path("/data/models"),
    policy=ServingPolicy(trust="code", publishers={"us": "/keys/us.pem"}, engine="onnx", onnx_tolerance=1e-6),
    pinned=Manifest((FileDigest("MLmodel", 1 << 40, "ab" * 32), FileDigest("model/über", 0, "cd" * 32))),
    digest="ef" * 32,
    judged=JudgedTwin(TwinFacts("01" * 32, 5, "double", 9, 1e-300), 1e-9, None, "run", "twins/m.onnx"),
    make_twin=True,
    logged=("/data/segments/ü.parquet", "s3://bucket/b.parquet"),
    timeout_s=0.5,
    memory_bytes=1 << 50,
    threads=3,
    bounds=Bounds(4, 5),
    privacy=PrivacyPolicy(drop=("name",), hash=("mail",)),
    hash_key=b"\x00\xff secret",
)


@pytest.mark.parametrize("request_", [BARE, FULL], ids=["bare", "full"])
def test_what_is_sent_arrives(request_: HostRequest) -> None:
    """Every part arrives in its value and type."""
    assert read(write(request_)) == request_


def test_nothing_else_arrives() -> None:
    """What is cut off, of another form, or a policy that is none, is refused; nothing of it is made."""
    whole = write(FULL)
    for broken in (b"", whole[:-1], b"\x80", whole.replace(b"onnx_tolerance", b"onnx_tolerancf"), b"\x80\x04N."):
        with pytest.raises(ValueError, match=r"."):
            read(broken)


def test_the_secret_is_not_shown() -> None:
    """A request in a log line does not tell the key."""
    assert "secret" not in repr(FULL)
