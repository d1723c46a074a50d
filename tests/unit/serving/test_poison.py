"""What nobody should send, over real HTTP: always an answer that blames the request, never a trace, never the end."""

import bz2
import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.serving.in_process import App
from tests.unit.serving.openinference.models import serving
from tests.unit.serving.wire import Reply, connect, exchange, post, receive

MLFLOW, TENSORS = "/models/numbers/invocations", "/v2/models/numbers/infer"
JSON, CSV, PARQUET = (
    "Content-Type: application/json",
    "Content-Type: text/csv",
    "Content-Type: application/vnd.apache.parquet",
)
GOOD = b'{"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1.0, 2.0, 3.0]]}}'
COLUMNS = '"columns": ["a", "b", "c"]'


def deep(levels: int, around: str = "1") -> bytes:
    """Nest lists."""
    return b'{"inputs": ' + b"[" * levels + around.encode() + b"]" * levels + b"}"


def rows(count: int) -> bytes:
    """Make many rows."""
    return f'{{"dataframe_split": {{{COLUMNS}, "data": [{",".join(["[1,2,3]"] * count)}]}}}}'.encode()


def tensor(**changes: object) -> bytes:
    """Make a request of tensors with one of them changed."""
    first = {"name": "a", "datatype": "FP64", "shape": [1], "data": [1.0], **changes}
    others = [{"name": name, "datatype": "FP64", "shape": [1], "data": [1.0]} for name in "bc"]
    return json.dumps({"inputs": [first, *others]}).encode()


POISON: dict[str, tuple[bytes, int]] = {
    # not JSON, or not this JSON
    "empty": (post(MLFLOW, b"", JSON), 400),
    "half an object": (post(MLFLOW, b'{"inputs": [1, 2', JSON), 400),
    "two documents": (post(MLFLOW, GOOD + GOOD, JSON), 400),
    "not UTF-8": (post(MLFLOW, b'{"inputs": "\xff\xfe"}', JSON), 400),
    "a null byte": (post(MLFLOW, GOOD + b"\x00", JSON), 400),
    "half a surrogate": (post(MLFLOW, b'{"dataframe_records": [{"\\ud800": 1}]}', JSON), 400),
    "a huge number": (post(MLFLOW, b'{"inputs": {"a": [' + b"9" * 5000 + b"]}}", JSON), 400),
    "a huge exponent": (post(MLFLOW, b'{"inputs": {"a": [1e999999], "b": ["x"], "c": [1]}}', JSON), 400),
    "a bare value": (post(MLFLOW, b"3", JSON), 400),
    "null": (post(MLFLOW, b"null", JSON), 400),
    "no known key": (post(MLFLOW, b'{"rows": []}', JSON), 400),
    "two known keys": (post(MLFLOW, b'{"inputs": [], "instances": []}', JSON), 400),
    "rows of different lengths": (
        post(MLFLOW, f'{{"dataframe_split": {{{COLUMNS}, "data": [[1], [1,2,3,4]]}}}}'.encode(), JSON),
        400,
    ),
    "a column twice": (post(MLFLOW, b'{"dataframe_split": {"columns": ["a","a","b"], "data": [[1,2,3]]}}', JSON), 400),
    "objects for numbers": (
        post(MLFLOW, f'{{"dataframe_split": {{{COLUMNS}, "data": [[{{}}, [], "x"]]}}}}'.encode(), JSON),
        400,
    ),
    "columns that are objects": (
        post(MLFLOW, b'{"dataframe_split": {"columns": [{}, []], "data": [[1, 2]]}}', JSON),
        400,
    ),
    "params that are a list": (post("/models/scaled/invocations", GOOD[:-1] + b', "params": [1]}', JSON), 400),
    # bombs
    "deep lists": (post(MLFLOW, deep(100_000), JSON), 400),
    "deep lists, a little": (post(MLFLOW, deep(65), JSON), 400),
    "deep objects": (post(MLFLOW, b'{"a":' * 50_000 + b"1" + b"}" * 50_000, JSON), 400),
    "deep and never closed": (post(MLFLOW, b"[" * 200_000, JSON), 400),
    "deep behind strings": (post(MLFLOW, b'{"x": "' + b"]" * 500 + b'\\"", "inputs": ' + deep(200) + b"}", JSON), 400),
    "deep tensors": (post(TENSORS, deep(100_000), JSON), 400),
    "too many rows": (post(MLFLOW, rows(1001), JSON), 413),
    "too many rows of CSV": (post(MLFLOW, b"a,b,c\n" + b"1,2,3\n" * 1001, CSV), 413),
    "too many rows of tensors": (
        post(
            TENSORS,
            json.dumps(
                {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1001, 3], "data": [0] * 3003}]}
            ).encode(),
            JSON,
        ),
        413,
    ),
    "gzip bomb": (post(MLFLOW, gzip.compress(b" " * 50_000_000), JSON, "Content-Encoding: gzip"), 413),
    "deflate bomb": (post(TENSORS, zlib.compress(b"[" * 50_000_000), JSON, "Content-Encoding: deflate"), 413),
    "no gzip": (post(MLFLOW, GOOD, JSON, "Content-Encoding: gzip"), 400),
    "half a gzip": (post(MLFLOW, gzip.compress(GOOD)[:20], JSON, "Content-Encoding: gzip"), 400),
    "gzip in gzip": (post(MLFLOW, gzip.compress(gzip.compress(GOOD)), JSON, "Content-Encoding: gzip, gzip"), 415),
    "bzip2": (post(MLFLOW, bz2.compress(GOOD), JSON, "Content-Encoding: bzip2"), 415),
    "a body too large": (post(MLFLOW, b" " * 1_000_001, JSON), 413),
    "a body that says it is too large": (post(MLFLOW, b"", JSON, "Content-Length: 99999999999", length=False), 413),
    "chunks without end": (
        post(MLFLOW, b"", JSON, "Transfer-Encoding: chunked", length=False)
        + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 20,
        413,
    ),
    # types, charsets, other formats
    "no content type": (post(MLFLOW, GOOD), 415),
    "unknown content type": (post(MLFLOW, GOOD, "Content-Type: application/x-java-serialized-object"), 415),
    "another charset": (post(MLFLOW, GOOD, "Content-Type: application/json; charset=utf-7"), 415),
    "a form": (post(MLFLOW, b"a=1", "Content-Type: application/x-www-form-urlencoded"), 415),
    "pickle": (post(MLFLOW, b"\x80\x04cos\nsystem\n", "Content-Type: application/octet-stream"), 415),
    "CSV of binary": (post(MLFLOW, bytes(range(256)), CSV), 400),
    "CSV with an open quote": (post(MLFLOW, b'a,b,c\n"1,2,3', CSV), 400),
    "CSV without rows": (post(MLFLOW, b"", CSV), 400),
    "Parquet that is none": (post(MLFLOW, b"PAR1" + b"\xff" * 100 + b"PAR1", PARQUET), 400),
    # tensors
    "a shape that asks for terabytes": (post(TENSORS, tensor(shape=[2**31 - 1, 2**31 - 1]), JSON), 400),
    "a negative shape": (post(TENSORS, tensor(shape=[-1]), JSON), 400),
    "a rank of 40": (post(TENSORS, tensor(shape=[1] * 40), JSON), 400),
    "numbers as texts": (post(TENSORS, tensor(data=["1"]), JSON), 400),
    "uneven nesting": (post(TENSORS, tensor(shape=[2, 1], data=[[1], []]), JSON), 400),
    "JSON longer than the body": (post(TENSORS, tensor(), "Inference-Header-Content-Length: 99999"), 400),
    "a header length that is none": (post(TENSORS, tensor(), "Inference-Header-Content-Length: ten"), 400),
    "raw bytes that are missing": (post(TENSORS, tensor(parameters={"binary_data_size": 8}, data=None), JSON), 400),
    "shared memory": (post(TENSORS, tensor(parameters={"shared_memory_region": "/etc"}), JSON), 400),
    # routes
    "an unknown model": (post("/models/nobody/invocations", GOOD, JSON), 404),
    "a path out": (post("/models/../../etc/passwd/invocations", GOOD, JSON), 404),
    "an encoded path out": (post("/models/..%2f..%2fetc/invocations", GOOD, JSON), 404),
    "a name of control characters": (post("/models/%00%0d%0aX:%20y/invocations", GOOD, JSON), 404),
    "a name that is no UTF-8": (post("/models/%ff%fe/invocations", GOOD, JSON), 404),
    "a huge version": (post(f"/models/numbers/versions/{10**30}/invocations", GOOD, JSON), 400),
    "another method": (post(MLFLOW, GOOD, JSON).replace(b"POST", b"PATCH", 1), 405),
    # HTTP
    "no HTTP": (b"hello\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "two lengths": (post(MLFLOW, GOOD, JSON, "Content-Length: 3"), 400),
    "length and chunks": (post(MLFLOW, GOOD, JSON, "Transfer-Encoding: chunked"), 400),
    "a length that is none": (post(MLFLOW, GOOD, JSON, "Content-Length: many", length=False), 400),
    "chunks that are none": (post(MLFLOW, b"zz\r\n", JSON, "Transfer-Encoding: chunked", length=False), 400),
    "a header without a name": (post(MLFLOW, GOOD, JSON, ": value"), 400),
    "a null byte in a header": (post(MLFLOW, GOOD, JSON, "X-Y: a\x00b"), 400),
    "one huge header": (post(MLFLOW, GOOD, JSON, "X-Y: " + "z" * 100_000), 431),
    "many headers": (post(MLFLOW, GOOD, JSON, *(f"X-{number}: z" for number in range(10_000))), 431),
    "a huge path": (post("/" + "x" * 100_000, GOOD, JSON), 431),
    "a path that is not ASCII": ("POST /modèles HTTP/1.1\r\nHost: x\r\n\r\n".encode(), 400),
}


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The application, with bounds that are quickly reached."""
    bounds = {"max_body_bytes": 1_000_000, "max_decompressed_bytes": 2_000_000, "max_rows": 1000}
    with serving(tmp_path_factory.mktemp("poison"), "numbers", "scaled", **bounds) as running:
        yield running


@pytest.mark.parametrize("name", POISON)
def test_poison(scoring: App, name: str) -> None:
    """The request is answered as its own fault, with its id, and the service goes on."""
    request, status = POISON[name]
    reply = exchange(scoring, request)
    assert reply.status == status, reply
    reply.error()
    assert exchange(scoring, post(MLFLOW, GOOD, JSON)).status == 200


def test_oddities_that_are_allowed(scoring: App) -> None:
    """What looks odd and is not: brackets within strings, the bound itself, upgrades that are not taken up."""
    named = json.dumps("[{" * 500 + '\\"[[[[')
    brackets = f'{{"dataframe_records": [{{"a": 1, "b": 2, "c": 3, {named}: 4}}]}}'.encode()
    for request in (
        post(MLFLOW, brackets, JSON),
        post(MLFLOW, rows(1000), JSON),
        post(MLFLOW, GOOD.decode().encode("utf-16"), JSON),
        post(MLFLOW, b"\xef\xbb\xbf" + GOOD, JSON),
        post(MLFLOW, GOOD, JSON, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
        post(MLFLOW, GOOD, JSON, "Expect: 100-continue"),
        post(MLFLOW, GOOD, JSON, "X-Y: " + "z" * 50_000),
        post(MLFLOW, b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD), JSON, "Transfer-Encoding: chunked", length=False),
    ):
        with connect(scoring) as connection:
            connection.sendall(request)
            reply = receive(connection)
            assert reply.status == 200, (request[:300], reply.body)


_BASES = (
    GOOD,
    rows(3),
    tensor(),
    deep(3),
    b"a,b,c\n1,2,3\n4,5,6\n",
    tensor(parameters={"binary_data_size": 8}) + bytes(8),
)
_TOKENS = (
    b'"',
    b"[",
    b"]",
    b"{",
    b"}",
    b":",
    b",",
    b"\\",
    b"NaN",
    b"null",
    b"-",
    b"1e999",
    b"\x00",
    b"\xff",
    b"\\ud800",
    b"\n",
)
_EDITS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 20), st.sampled_from(_TOKENS) | st.binary(max_size=4)), max_size=4
)
_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": st.sampled_from(
            ["application/json", "text/csv", "application/vnd.apache.parquet", "application/json; charset=utf-8", "x"]
        ),
        "Content-Encoding": st.sampled_from(["gzip", "deflate", "identity", "x"]),
        "Inference-Header-Content-Length": st.integers(0, 300).map(str) | st.sampled_from(["-1", "x", ""]),
    },
)
_PATHS = (
    MLFLOW,
    TENSORS,
    "/models/scaled/invocations",
    "/models/planned/invocations",
    "/v2/models/scaled/infer",
    "/v2/repository/index",
    "/models/numbers/feedback",
)


def generated(
    scoring: App, path: str, base: bytes, edits: list[tuple[int, int, bytes]], headers: dict[str, str], squeeze: bool
) -> None:
    """Send a body with some edits; whatever comes back must be an answer or an error of the request's own."""
    body = base
    for at, removed, put in edits:
        body = body[:at] + put + body[at + removed :]
    if squeeze and headers.get("Content-Encoding") == "gzip":
        body = gzip.compress(body)
    answer = scoring.client.post(path, content=body, headers=headers)
    # feedback that can be read is 503, as there is no database behind this application
    allowed = range(400, 500) if not path.endswith("feedback") else (*range(400, 500), 503)
    if answer.status_code != 200:
        assert answer.status_code in allowed, (path, body, headers, answer.text)
        Reply(answer.status_code, dict(answer.headers), answer.content).error()


_GENERATED = {
    "path": st.sampled_from(_PATHS),
    "base": st.sampled_from(_BASES),
    "edits": _EDITS,
    "headers": _HEADERS,
    "squeeze": st.booleans(),
}


@given(**_GENERATED)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_generated_poison(scoring: App, **body: Any) -> None:
    """Bodies that were good until something was done to them."""
    generated(scoring, **body)


@pytest.mark.slow
@given(**_GENERATED)
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_much_generated_poison(scoring: App, **body: Any) -> None:
    """The same, ten thousand times."""
    generated(scoring, **body)


def test_nothing_of_it_was_logged_or_failed(scoring: App, caplog: pytest.LogCaptureFixture) -> None:
    """No poison is a prediction, and none made the service log an error."""
    before = len(scoring.records())
    for name, (request, status) in POISON.items():
        exchange(scoring, request)
        # the short way of a model with a plan is nothing's way around
        reply = exchange(scoring, request.replace(b"/models/numbers/", b"/models/planned/", 1))
        assert reply.status == status, (name, reply)
        reply.error()
    assert len(scoring.records()) == before
    assert scoring.parts.admission.inside == 0
    assert [record for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}] == []
