"""Segments in S3-compatible storage, against a real S3 server as a process of its own."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from sqlalchemy import Engine

from drift.log_lookup import look_up
from drift.log_view import read
from drift.segment_files import read_window
from mlflow_ext.domain.drift import Window
from mlflow_ext.errors import UnavailableError
from mlflow_ext.policy import PrivacyPolicy
from mlflow_ext.spool import spool_files
from mlflow_ext.store.segment_storage import remove
from mlflow_ext.store.segments import Segments
from tests.conftest import free_port, wait_until
from tests.integration.drift.killed import kill_while_compacting
from tests.integration.drift.spooled import HOUR, SINCE, answered, compactor_in, fill

BUCKET = "segments-of-a-test"
WINDOW = Window(SINCE - HOUR, SINCE + 5 * HOUR)


@dataclass
class Store:
    """The server, and its address."""

    process: "subprocess.Popen[bytes]"
    url: str

    def keys(self) -> list[str]:
        """Names of the objects that hold something."""
        found = boto3.client("s3", endpoint_url=self.url).list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return sorted(one["Key"] for one in found if one["Size"])


@pytest.fixture(scope="module")
def running_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A server for the module."""
    port = free_port()
    with (tmp_path_factory.mktemp("s3") / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    yield Store(process, f"http://127.0.0.1:{port}")
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()


@pytest.fixture
def store(running_store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The server with an empty bucket, its address and keys in the environment as for AWS's own tools."""
    for name, value in {
        "AWS_ENDPOINT_URL": running_store.url,
        "AWS_ACCESS_KEY_ID": "a-test",
        "AWS_SECRET_ACCESS_KEY": "a-test",
        "AWS_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=running_store.url, region_name="eu-central-1")
    port = int(running_store.url.rpartition(":")[2])
    wait_until(lambda: _listens(port), 30)
    if any(one["Name"] == BUCKET for one in client.list_buckets()["Buckets"]):
        for one in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
            client.delete_object(Bucket=BUCKET, Key=one["Key"])
    else:
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return running_store


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_segments_are_written_read_merged_and_removed_there(store: Store, engine: Engine, tmp_path: Path) -> None:
    """The same index, windows, queries and look-ups as on local disk."""
    compactor = compactor_in(tmp_path, engine, f"s3://{BUCKET}/logs")
    for number in range(4):
        fill(compactor, answered(f"r{number}", {"x": number}, at=SINCE + (number // 3) * HOUR))
        compactor.run_once()
    index = compactor.index
    assert read_window(index, "m", 1, WINDOW).inputs["x"].tolist() == [0, 1, 2, 3]
    [batch] = read(index, "m", None, WINDOW, PrivacyPolicy(), "SELECT count(*) AS rows, sum(x) AS x FROM predictions")
    assert batch.to_pylist() == [{"rows": 4, "x": 6}]
    [row] = look_up(index, "r2", lambda _: PrivacyPolicy())
    assert row["inputs"] == {"x": 2}
    live = {one.uri.removeprefix(f"s3://{BUCKET}/") for one in index.find("m", 1, WINDOW.since, WINDOW.until)}
    assert len(live) == 2
    for uri in index.replaced(0):
        remove(uri)
        remove(uri)
    assert set(store.keys()) == live


def test_while_it_does_not_answer_the_spool_waits(store: Store, engine: Engine, tmp_path: Path) -> None:
    """Nothing is lost: what could not be written is written when it is back."""
    compactor = compactor_in(tmp_path, engine, "s3://no-such-bucket/logs")
    fill(compactor, answered("r1", {"x": 1}))
    with pytest.raises(UnavailableError, match="NO_SUCH_BUCKET"):
        compactor.run_once()
    assert len(spool_files(compactor.spool_dir)) == 1
    compactor.root = f"s3://{BUCKET}/logs"
    assert compactor.run_once() == 1
    assert spool_files(compactor.spool_dir) == []


def test_a_server_that_is_away_is_an_error_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a worker that hangs."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-test")
    with pytest.raises(UnavailableError, match="cannot be removed"):
        remove(f"s3://{BUCKET}/anything")


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_kill_9_loses_and_doubles_nothing_there(
    kills: int, store: Store, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    """A compactor killed while it writes to the server: every acknowledged row is in segments exactly once."""
    root = f"s3://{BUCKET}/logs"
    acknowledged = kill_while_compacting(kills, database_url, tmp_path, root)
    compactor_in(tmp_path, engine, root).run_once()
    assert spool_files(tmp_path / "spool") == []
    found = Counter(read_window(Segments(engine), "m", 1, WINDOW).meta["request_id"])
    assert found == Counter(f"r{number}" for number in range(acknowledged))
    assert os.environ["AWS_ENDPOINT_URL"] == store.url
