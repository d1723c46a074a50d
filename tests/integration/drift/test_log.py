"""The prediction log as users see it: queries over versions, exports, one request by its id, and what stays hidden."""

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text

from drift.compactor import Compactor
from drift.log_export import export, format_of
from drift.log_lookup import look_up
from drift.log_view import read
from drift.rows import AT
from drift.segment_files import write_segment
from mlflow_ext.cli import cli
from mlflow_ext.domain.drift import Window
from mlflow_ext.domain.privacy import KeyedHash
from mlflow_ext.domain.segments import Segment
from mlflow_ext.errors import InvalidInputError, NotFoundError, UnavailableError
from mlflow_ext.policy import PrivacyPolicy
from mlflow_ext.registry.scoring_protocol import ModelColumns
from mlflow_ext.store.request_filter import filter_of
from mlflow_ext.store.segment_files import INPUT, META, NAME, OUTPUT, ROLE
from mlflow_ext.store.segments import Segments
from tests.integration.drift.spooled import HOUR, SINCE, answered, compactor_in, fill

OPEN = PrivacyPolicy()
SECOND = timedelta(seconds=1)
WINDOW = Window(SINCE, SINCE + 3 * HOUR)
EVER = Window(SINCE, SINCE + 100 * HOUR)
HASHED = KeyedHash(b"k" * 32).of("customer")("c1")


@pytest.fixture
def compactor(engine: Engine, tmp_path: Path) -> Compactor:
    """Versions that differ: 1 has integers and a colour, 2 reals, no colour, a weight and a column called `version`."""
    columns = {
        1: ModelColumns(inputs={"x": "long", "colour": "string", "customer": "string"}),
        2: ModelColumns(inputs={"x": "double", "weight": "double", "version": "string", "customer": "string"}),
    }
    one = compactor_in(tmp_path, engine, columns=columns)
    fill(one, answered("a1", {"x": 1, "colour": "red", "customer": "c1"}, answer=10))
    fill(
        one,
        *(
            answered(
                f"b{number}",
                {"x": number + 0.5, "weight": 2.0, "version": "beta", "customer": HASHED},
                version=2,
                at=SINCE + number * HOUR,
                answer=0.5,
            )
            for number in range(3)
        ),
    )
    one.run_once()
    return one


def ask(
    compactor: Compactor, sql: str, privacy: PrivacyPolicy = OPEN, version: int | None = None, window: Window = WINDOW
) -> list[dict[str, Any]]:
    """The answer's rows."""
    batches = read(compactor.index, "m", version, window, privacy, sql)
    return [row for batch in batches for row in batch.to_pylist()]


def test_one_query_over_versions_with_other_columns_and_types(compactor: Compactor) -> None:
    """Numbers become the wider type, a column that a version lacks is null in its rows."""
    rows = ask(compactor, "SELECT version, request_id, x, colour, weight, prediction FROM predictions ORDER BY 2")
    assert [tuple(row.values()) for row in rows] == [
        (1, "a1", 1.0, "red", None, 10.0),
        (2, "b0", 0.5, None, 2.0, 0.5),
        (2, "b1", 1.5, None, 2.0, 0.5),
        (2, "b2", 2.5, None, 2.0, 0.5),
    ]
    assert ask(compactor, "SELECT count(*) AS n FROM predictions", version=1) == [{"n": 1}]
    assert ask(compactor, 'SELECT DISTINCT "input.version" AS v FROM predictions WHERE version = 2') == [{"v": "beta"}]


def test_types_that_do_not_go_together_within_a_version_become_text(engine: Engine, tmp_path: Path) -> None:
    """A model without signature takes what it gets."""
    one = compactor_in(tmp_path, engine)
    for number, values in enumerate([(1, 7), (2.5, 3.5), ("three", "four")]):
        at = SINCE + number * HOUR
        fill(one, *(answered(f"r{value}", {"x": value}, at=at + index * SECOND) for index, value in enumerate(values)))
        one.run_once()
    rows = ask(one, "SELECT x FROM predictions ORDER BY received_at")
    assert [row["x"] for row in rows] == ["1", "7", "2.5", "3.5", "three", "four"]
    assert ask(one, "SELECT request_id FROM predictions WHERE x > '3'") == [
        {"request_id": f"r{value}"} for value in (7, 3.5, "three", "four")
    ]
    later = ask(one, "SELECT request_id FROM predictions WHERE received_at >= '2026-03-01 09:00:01' AND x >= '3'")
    assert later == [{"request_id": f"r{value}"} for value in (3.5, "three", "four")]


def test_a_window_begins_in_and_ends_out(compactor: Compactor) -> None:
    """And times are UTC, to count by hour."""
    some = Window(SINCE + HOUR, SINCE + 2 * HOUR)
    assert ask(compactor, "SELECT request_id FROM predictions", window=some) == [{"request_id": "b1"}]
    hours = ask(compactor, "SELECT hour(received_at) AS h, count(*) AS n FROM predictions GROUP BY 1 ORDER BY 1")
    assert hours == [{"h": 8, "n": 2}, {"h": 9, "n": 1}, {"h": 10, "n": 1}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "COPY predictions TO '/tmp/out.csv'",
        "ATTACH '/tmp/other.db'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "SELECT nothing FROM predictions",
        "SELECT",
        "DROP VIEW predictions",
    ],
)
def test_a_query_reaches_the_view_and_nothing_else(compactor: Compactor, sql: str) -> None:
    """No file, no network, no setting; a mistake is told in one sentence."""
    with pytest.raises(InvalidInputError):
        ask(compactor, sql)
    assert not Path("/tmp/out.csv").exists()


def test_what_policy_withholds_now_stays_hidden(compactor: Compactor) -> None:
    """Dropped columns are left out, and of hashed ones only hashes are shown, also of what was logged in the clear."""
    privacy = PrivacyPolicy(drop=("colour",), hash=("customer",))
    rows = ask(compactor, "SELECT * FROM predictions ORDER BY request_id", privacy)
    assert all("colour" not in row for row in rows)
    assert [row["customer"] for row in rows] == [None, HASHED, HASHED, HASHED]
    with pytest.raises(InvalidInputError):
        ask(compactor, "SELECT colour FROM predictions", privacy)
    with pytest.raises(InvalidInputError):
        ask(compactor, "SELECT colour FROM segments_1_0", privacy)
    [row] = look_up(compactor.index, "a1", lambda _: privacy)
    assert row["inputs"] == {"x": 1, "customer": None}


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_an_export_holds_every_row(compactor: Compactor, tmp_path: Path, kind: str) -> None:
    """In a file that only its owner may read."""
    path = tmp_path / "out" / f"rows.{kind}"
    batches = read(compactor.index, "m", None, WINDOW, OPEN, "SELECT * FROM predictions")
    assert export(batches, path, format_of(path, None)) == 4
    assert path.stat().st_mode & 0o777 == 0o600
    if kind == "jsonl":
        table = pa.Table.from_pylist([json.loads(line) for line in path.read_text().splitlines()])
    else:
        table = pq.read_table(path) if kind == "parquet" else pc.read_csv(path)
    assert sorted(table.column("request_id").to_pylist()) == ["a1", "b0", "b1", "b2"]
    assert sorted(table.column("x").to_pylist()) == [0.5, 1.0, 1.5, 2.5]
    assert list(path.parent.iterdir()) == [path]


def test_an_export_that_fails_leaves_nothing(compactor: Compactor, tmp_path: Path) -> None:
    """Neither half a file nor the former one changed."""
    path = tmp_path / "rows.parquet"
    path.write_text("former")
    with pytest.raises(InvalidInputError):
        export(read(compactor.index, "m", None, WINDOW, OPEN, "SELECT nope FROM predictions"), path, "parquet")
    assert path.read_text() == "former"
    with pytest.raises(InvalidInputError, match="names no format"):
        format_of(tmp_path / "rows.txt", None)


def test_a_request_is_found_by_its_id(compactor: Compactor) -> None:
    """With what was asked and answered, whatever model it was."""
    [row] = look_up(compactor.index, "b1", lambda _: OPEN)
    assert (row["model"], row["version"], row["row"]) == ("m", 2, 0)
    assert row["received_at"] == SINCE + HOUR
    assert row["inputs"] == {"x": 1.5, "weight": 2.0, "version": "beta", "customer": HASHED}
    assert row["outputs"] == {"prediction": 0.5}
    with pytest.raises(NotFoundError, match="no request b9"):
        look_up(compactor.index, "b9", lambda _: OPEN)
    with pytest.raises(NotFoundError):
        look_up(compactor.index, "b1", lambda _: OPEN, "other")


def test_the_index_names_few_files_for_a_request(engine: Engine, tmp_path: Path) -> None:
    """The one that holds it, and hardly another; one indexed before there were filters is looked at."""
    one = compactor_in(tmp_path, engine)
    for hour in range(40):
        fill(one, *(answered(f"h{hour}-{number}", {"x": 1}, at=SINCE + hour * HOUR) for number in range(20)))
    one.run_once()
    assert len(one.index.stored()["m"]) == 40
    assert sum(len(one.index.holding(f"h{hour}-7")) for hour in range(40)) <= 40 + 40
    assert all(look_up(one.index, f"h{hour}-{hour % 20}", lambda _: OPEN) for hour in range(40))
    with engine.begin() as connection:
        connection.execute(text("UPDATE mlflow_ext.segment SET request_filter = NULL"))
    assert len(one.index.holding("h3-7")) == 40
    assert len(look_up(one.index, "h3-7", lambda _: OPEN)) == 1


def test_nothing_in_the_window_is_told(compactor: Compactor) -> None:
    """Rather than an empty answer that looks like one."""
    with pytest.raises(NotFoundError, match="nothing is logged"):
        ask(compactor, "SELECT 1", window=Window(SINCE - 2 * HOUR, SINCE - HOUR))


def test_a_segment_that_is_gone_is_no_mistake_of_the_query(compactor: Compactor) -> None:
    """The index names it, storage does not have it: unavailable, not invalid."""
    for path in Path(compactor.root).rglob("*.parquet"):
        path.unlink()
    with pytest.raises(UnavailableError):
        ask(compactor, "SELECT x FROM predictions")


def test_the_commands(compactor: Compactor, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`log query`, `log export` and `log show` as a user runs them; privacy is the policy file's."""
    (tmp_path / "mlflow-ext.yaml").write_text("models: {m: {privacy: {drop: [colour]}}}")
    for name in [name for name in os.environ if name.startswith("MLFLOW_EXT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_EXT_DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> str:
        result = CliRunner().invoke(cli, ["log", *arguments], standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    since = ("--since", "2026-03-01T08:00", "--until", "2026-03-01T12:00")
    lines = command("query", "m", *since, "--sql", "SELECT count(*) AS n FROM predictions GROUP BY version", "--json")
    assert sorted(json.loads(line)["n"] for line in lines.splitlines()) == [1, 3]
    table = command("query", "m", *since, "--version", "2")
    assert "b2" in table
    assert "colour" not in table
    assert command("export", "m", "rows.csv", *since) == "4 rows in rows.csv\n"
    assert "colour" not in (tmp_path / "rows.csv").read_text()
    assert json.loads(command("show", "a1"))["inputs"] == {"x": 1, "customer": "c1"}
    with pytest.raises(NotFoundError):
        command("query", "m", "--since", "1h")
    failed = subprocess.run(
        [sys.executable, "-m", "mlflow_ext.cli", "log", "show", "nobody"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith("mlflow-ext: no request nobody is logged")


@pytest.mark.parametrize("rows", [60_000, pytest.param(1_200_000, marks=pytest.mark.slow)])
def test_one_request_among_a_million_rows_is_found_within_a_second(
    rows: int, engine: Engine, tmp_path: Path, record_property: Any
) -> None:
    """48 hours of segments, 20 inputs a row: each of ten requests is found by its id within 1 s."""
    index = Segments(engine)
    generator = np.random.default_rng(3)
    each = rows // 48
    asked = []
    for hour in range(48):
        begin = SINCE + hour * HOUR
        ids = [f"{hour:02d}{number:06d}{value:016x}" for number, value in enumerate(generator.integers(0, 2**62, each))]
        meta = {
            "request_id": pa.array(ids),
            "row": pa.array(np.zeros(each, dtype=np.int32)),
            "at": pa.array(np.datetime64(begin.replace(tzinfo=None), "us") + np.arange(each), AT),
            "arm": pa.array(["champion"] * each),
        }
        values = {"prediction": OUTPUT} | {f"x{number}": INPUT for number in range(20)}
        arrays = [*meta.values(), *(pa.array(generator.normal(size=each)) for _ in values)]
        roles = dict.fromkeys(meta, META) | values
        fields = [
            pa.field(name, array.type, metadata={ROLE: role, NAME: name.encode()})
            for (name, role), array in zip(roles.items(), arrays, strict=True)
        ]
        uri = str(tmp_path / f"{hour}.parquet")
        size = write_segment(uri, pa.table(arrays, schema=pa.schema(fields)))
        one = Segment("m", 1 + hour // 24, begin, uri, each, size, begin, begin + timedelta(microseconds=each - 1))
        index.commit(f"spool{hour}", seen=0, offset=1, added={one: filter_of(ids)}, replaced=[])
        asked.append(ids[each // 2])
    took = []
    for request_id in asked[::5]:
        began = time.perf_counter()
        [row] = look_up(index, request_id, lambda _: OPEN)
        took.append(time.perf_counter() - began)
        assert row["request_id"] == request_id
    began = time.perf_counter()
    sql = "SELECT version, count(*) AS n, avg(x3) AS mean FROM predictions GROUP BY 1 ORDER BY 1"
    answer = [row for batch in read(index, "m", None, EVER, OPEN, sql) for row in batch.to_pylist()]
    query_s = time.perf_counter() - began
    assert [row["n"] for row in answer] == [rows // 2, rows // 2]
    record_property("slowest_look_up_ms", round(max(took) * 1000))
    print(f"rows={rows} look-up: slowest {max(took) * 1000:.0f} ms; count and mean by version: {query_s:.2f} s")
    assert max(took) < 1.0
