"""No personal data reaches the spool, in whatever format a request comes; what may be kept does."""

import base64
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.types import ColSpec, Schema, TensorSpec
from pydantic import SecretStr, ValidationError

from drift.rows import typed_rows
from mlflow_ext.config import Settings
from mlflow_ext.domain.privacy import PREFIX, REDACTED, KeyedHash, is_hash
from mlflow_ext.errors import InvalidSettingsError
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.registry.scoring_protocol import columns_of
from mlflow_ext.spool import PredictionRecord, SpoolWriter, read_spool, spool_files
from mlflow_ext.store.segment_files import INPUT, part
from serving.codecs.answer import Logged
from serving.host.answering import redacted
from serving.host.opened import OpenedVersion
from serving.host.redaction import FormatRedactor
from serving.metrics import Metrics
from serving.openinference.messages import read_request
from serving.openinference.model_input import model_input
from serving.prediction_log import PredictionLog, Rewritten, Understood
from tests.unit.serving.host_here import hosted
from tests.unit.serving.in_process import Named
from tests.unit.test_spool_room import AT

KEY = KeyedHash(b"k" * 32)
POLICY = ModelPolicy.model_validate({"privacy": {"drop": ["name"], "hash": ["customer"]}})
SCHEMA = Schema([ColSpec("string", "name"), ColSpec("double", "amount"), ColSpec("string", "customer")])
TENSORS = Schema([TensorSpec(np.dtype(str), (-1,), "name"), TensorSpec(np.dtype("float64"), (-1,), "amount"),
                  TensorSpec(np.dtype(str), (-1,), "customer")])  # fmt: skip
JSON = "application/json"


class Log:
    """A prediction log on disk, for one version."""

    def __init__(self, directory: Path, schema: Any = SCHEMA, policy: ModelPolicy = POLICY) -> None:
        """Take its directory, the version's input schema, and the policy."""
        self.metrics = Metrics()
        self._directory = directory
        self._version = hosted(OpenedVersion("m", 1, None, Named(lambda data: data), schema))
        self._redactor = FormatRedactor(policy.privacy, KEY, schema)
        self._log = PredictionLog(SpoolWriter(directory), self.metrics, lambda model: policy, KEY)

    def write(
        self, content_type: str, body: bytes, answer: Any, understood: Understood | None = None
    ) -> PredictionRecord | None:
        """Log one prediction; gives what is on disk of it."""
        return self.write_as_it_is(content_type, body, json.dumps({"predictions": answer}).encode(), understood)

    def write_as_it_is(
        self, content_type: str, body: bytes, response: bytes, understood: Understood | None = None
    ) -> PredictionRecord | None:
        """Log one prediction with the bytes of its answer; gives what is on disk of it."""
        record = PredictionRecord("r", "m", 1, AT, 1, content_type, body, response)
        how: Understood | Rewritten | None = understood
        if understood is None:
            kept = redacted(self._redactor, Logged(content_type, body, response))
            record = replace(record, content_type=kept.content_type, request=kept.request, response=kept.response)
            how = Rewritten(kept.refused)
        self._log.append(self._version, [record], how)
        self._log.close()
        found = [one for path in spool_files(self._directory) for one, _ in read_spool(path)]
        return found[-1] if found else None

    @property
    def bytes(self) -> bytes:
        """Everything on disk."""
        return b"".join(path.read_bytes() for path in self._directory.glob("**/*") if path.is_file())

    @property
    def refused(self) -> float:
        """How many predictions were not written because of privacy."""
        labels = {"model": "m", "reason": "private"}
        return self.metrics.registry.get_sample_value("mlflow_ext_spool_lost_records_total", labels) or 0.0


Table = pd.DataFrame


def _split(table: Table) -> tuple[str, bytes]:
    return JSON, json.dumps({"dataframe_split": table.to_dict(orient="split", index=False)}).encode()


def _split_unicode(table: Table) -> tuple[str, bytes]:
    text = json.dumps({"dataframe_split": table.to_dict(orient="split")}, ensure_ascii=False)
    return f"{JSON}; charset=utf-8", text.encode()


def _records(table: Table) -> tuple[str, bytes]:
    return JSON, json.dumps({"dataframe_records": table.to_dict(orient="records"), "params": {}}).encode()


def _instances(table: Table) -> tuple[str, bytes]:
    return JSON, json.dumps({"instances": table.to_dict(orient="records")}).encode()


def _inputs(table: Table) -> tuple[str, bytes]:
    return JSON, json.dumps({"inputs": table.to_dict(orient="list")}).encode()


def _csv(table: Table) -> tuple[str, bytes]:
    return "text/csv", table.to_csv(index=False).encode()


def _parquet(table: Table) -> tuple[str, bytes]:
    buffer = BytesIO()
    table.to_parquet(buffer)
    return "application/vnd.apache.parquet", buffer.getvalue()


def _open_inference(table: Table) -> tuple[str, bytes]:
    """What the Open Inference Protocol's codec hands to the log."""
    kinds = {"name": "BYTES", "customer": "BYTES", "amount": "FP64"}
    inputs = [
        {"name": name, "datatype": kinds[name], "shape": [len(table)], "data": table[name].tolist()} for name in kinds
    ]
    request = read_request(json.dumps({"inputs": inputs}).encode(), None)
    return JSON, json.dumps(model_input(request.inputs, SCHEMA).document).encode()


FORMATS = (_split, _split_unicode, _records, _instances, _inputs, _csv, _parquet, _open_inference)
ANSWERS: tuple[Callable[[Table], Any], ...] = (
    lambda table: [1.0] * len(table),
    lambda table: table.to_dict(orient="records"),
    lambda table: {"name": table["name"].tolist(), "score": [1.0] * len(table)},
    lambda table: [{"score": 1.0, "who": {"customer": who}} for who in table["customer"]],
)

# long enough not to turn up by chance in what else is on disk
secret_text = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=6, max_size=20).map(
    lambda text: f"§{text.strip()}§"
)
tables = st.lists(
    st.tuples(secret_text, st.floats(-1e6, 1e6).map(lambda number: round(number, 3)), secret_text),
    min_size=1, max_size=4,
).map(lambda rows: pd.DataFrame(rows, columns=["name", "amount", "customer"]))  # fmt: skip


def _traces(value: str) -> set[bytes]:
    """How a text may look in a file."""
    escaped = json.dumps(value)[1:-1]
    plain = {value.encode(), escaped.encode(), escaped.lower().encode(), escaped.upper().encode()}
    wide = {
        value.encode("utf-16-le"),
        base64.b64encode(value.encode()).rstrip(b"=")[:-1],
        value.encode().hex().encode(),
    }
    return plain | wide


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.__name__.strip("_"))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(table=tables, shuffled=st.permutations(["name", "amount", "customer"]), answer=st.sampled_from(ANSWERS))
def test_no_byte_of_personal_data_reaches_the_spool(
    tmp_path_factory: pytest.TempPathFactory,
    form: Callable[[Table], tuple[str, bytes]],
    table: Table,
    shuffled: list[str],
    answer: Callable[[Table], Any],
) -> None:
    """For any body in any format and any order of columns; the rest is written, hashes are those of the values."""
    log = Log(tmp_path_factory.mktemp("spool"))
    record = log.write(*form(table[shuffled]), answer(table))
    assert record is not None
    assert log.refused == 0
    found = log.bytes
    for value in [*table["name"], *table["customer"]]:
        assert not any(trace in found for trace in _traces(value))
    [read], refused = typed_rows([record], columns_of(SCHEMA))
    assert refused == []
    inputs = part(read, INPUT)
    assert set(inputs.columns) == {"amount", "customer"}
    assert inputs["amount"].tolist() == pytest.approx(table["amount"].tolist())
    assert inputs["customer"].tolist() == [KEY.of("customer")(value) for value in table["customer"]]


@given(table=tables)
@settings(deadline=None, max_examples=40)
def test_what_a_plan_has_read_is_written_alike(tmp_path_factory: pytest.TempPathFactory, table: Table) -> None:
    """The short way writes what the long way writes, without parsing the body again."""
    rows = list(table.itertuples(index=False, name=None))
    short = Log(tmp_path_factory.mktemp("short")).write(
        JSON, b"not looked at", [1.0] * len(table), Understood(tuple(table.columns), [rows])
    )
    long = Log(tmp_path_factory.mktemp("long")).write(*_split(table), [1.0] * len(table))
    assert short is not None
    assert long is not None
    assert json.loads(short.request) == json.loads(long.request)
    assert (short.content_type, short.response) == (long.content_type, long.response)
    assert short.content_type == REDACTED


def test_a_matrix_of_numbers_is_redacted_as_well(tmp_path: Path) -> None:
    """Numbers are hashed by their value; a plan's matrix gives the same hashes as rows."""
    policy = ModelPolicy.model_validate({"privacy": {"hash": ["a"], "drop": ["b"]}})
    schema = Schema([ColSpec("double", name) for name in "abc"])
    matrix = np.array([[1.0, 77.125, 3.0], [2.5, 88.125, 4.0]])
    record = Log(tmp_path, schema, policy).write(JSON, b"", [1, 2], Understood(("a", "b", "c"), [matrix]))
    assert record is not None
    [table], _ = typed_rows([record], columns_of(schema))
    inputs = part(table, INPUT)
    assert inputs["a"].tolist() == [KEY.of("a")(1), KEY.of("a")("2.5")]
    assert inputs["c"].tolist() == [3.0, 4.0]
    assert b"77.125" not in record.request


def test_everything_may_be_dropped(tmp_path: Path) -> None:
    """Answers and their number are left; feedback can still name the rows."""
    policy = ModelPolicy.model_validate({"privacy": {"drop": ["name", "amount", "customer"]}})
    table = pd.DataFrame([["§ada§", 1.0, "§c1§"]] * 3, columns=["name", "amount", "customer"])
    record = Log(tmp_path, SCHEMA, policy).write(*_csv(table), [1, 2, 3])
    assert record is not None
    [read], refused = typed_rows([record], columns_of(SCHEMA))
    assert refused == []
    assert read.column("prediction").to_pylist() == [1, 2, 3]
    assert part(read, INPUT).empty


@pytest.mark.parametrize(
    ("schema", "content_type", "body"),
    [
        (Schema([ColSpec("string"), ColSpec("double"), ColSpec("string")]), "text/csv", b"x,y,z\n%s,1,%s\n"),
        (None, "text/csv", b"%s,1,%s\n%s,2,%s\n"),
        (None, JSON, b'{"instances": [["%s", 1, "%s"]]}'),
        (None, JSON, b'{"dataframe_split": {"data": [["%s", 1, "%s"]]}}'),
        (None, JSON, b'{"dataframe_records": [{"Name": "%s", "customer": "%s"}]}'),
        (SCHEMA, JSON, b'{"dataframe_split": {"data": [["%s", 1, "%s"]]}}'),
        (SCHEMA, JSON, b'{"dataframe_split": {"columns": ["name", "amount", "amount"], "data": [["%s", 1, "%s"]]}}'),
        (SCHEMA, JSON, b'{"instances": [["%s", 1, "%s"]]}'),
        (SCHEMA, JSON, b"%s %s"),
        (SCHEMA, JSON, b"[" * 100_000),
        (SCHEMA, "application/vnd.apache.parquet", b"PAR1 %s %s"),
        (SCHEMA, "application/x-www-form-urlencoded", b"name=%s&customer=%s"),
        (None, JSON, b'{"dataframe_records": [{"name": "a", "customer": "b", "more": {"deep": [{"name": "%s"}]}}]}'),
    ],
)  # fmt: skip
def test_what_is_not_certain_is_not_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, schema: Schema | None, content_type: str, body: bytes
) -> None:
    """It is counted with the reason `private`; neither the spool nor the log has a byte of it."""
    log = Log(tmp_path, schema)
    assert log.write(content_type, body.replace(b"%s", b"ada.lovelace"), [1.0]) is None
    assert log.refused == 1
    assert b"ada.lovelace" not in log.bytes
    assert "reason=private" in caplog.text
    assert "ada.lovelace" not in caplog.text


@pytest.mark.parametrize("answer", [b"[1]", b"not json", b'{"outputs": []}', b"[" * 100_000])
def test_an_answer_that_is_not_understood_is_not_written(tmp_path: Path, answer: bytes) -> None:
    """It might hold anything."""
    body = b'{"dataframe_split": {"columns": ["name", "amount", "customer"], "data": [["a", 1, "b"]]}}'
    log = Log(tmp_path)
    assert log.write_as_it_is(JSON, body, answer) is None
    assert log.refused == 1


def test_what_nobody_has_rewritten_is_not_written(tmp_path: Path) -> None:
    """Whoever forgets to rewrite a request of a model with such a policy loses it, and no personal data gets out."""
    log = PredictionLog(SpoolWriter(tmp_path), Metrics(), lambda model: POLICY, KEY)
    version = hosted(OpenedVersion("m", 1, None, Named(lambda data: data), SCHEMA))
    assert not log.append(version, [PredictionRecord("r", "m", 1, AT, 1, JSON, b"{}", b"{}")])
    assert spool_files(tmp_path) == []


def test_named_tensors_are_columns(tmp_path: Path) -> None:
    """A signature of named tensors is treated by name as well."""
    table = pd.DataFrame([["§ada§", 1.0, "§c1§"]], columns=["name", "amount", "customer"])
    log = Log(tmp_path, TENSORS)
    record = log.write(*_inputs(table), [1.0])
    assert record is not None
    assert "ada" not in record.request.decode()
    [read], refused = typed_rows([record], columns_of(TENSORS))
    assert refused == []
    assert part(read, INPUT)["customer"].map(is_hash).all()


def test_columns_beyond_the_signature_are_not_written(tmp_path: Path) -> None:
    """Nobody has said what they hold; MLflow ignores them as well."""
    table = pd.DataFrame([["§ada§", 1.0, "§c1§", "§born§"]], columns=["name", "amount", "customer", "maiden"])
    log = Log(tmp_path)
    assert log.write(*_split(table), [1.0]) is not None
    assert "born" not in log.bytes.decode(errors="replace")


@pytest.mark.parametrize("value", [True, 5, 5.0, "5", 2.5, "ä", b"x", pd.Timestamp("2026-01-01"), [1, 2], {"a": 1}])
def test_a_hash_is_of_the_value_not_of_its_type(value: Any) -> None:
    """Equal values hash alike; another column, another key and another value hash differently."""
    hashed = KEY.of("c")(value)
    assert is_hash(hashed)
    assert hashed == KEY.of("c")(value)
    assert hashed not in {KEY.of("d")(value), KeyedHash(b"q" * 32).of("c")(value), KEY.of("c")("other")}
    if value in (5, "5"):
        assert hashed == KEY.of("c")(np.int64(5))


@pytest.mark.parametrize("missing", [None, float("nan"), np.float64("nan"), pd.NaT])
def test_a_missing_value_stays_missing(missing: Any) -> None:
    """Drift counts missing values."""
    assert KEY.of("c")(missing) is None


def test_a_typing_mistake_in_the_policy_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A name that the signature lacks has no effect, so the log says it."""
    policy = ModelPolicy.model_validate({"privacy": {"drop": ["nmae"]}})
    with caplog.at_level(logging.WARNING):
        Log(tmp_path, SCHEMA, policy).write(*_split(pd.DataFrame([["a", 1.0, "c"]], columns=SCHEMA.input_names())), [1])
    assert "event=privacy_unknown_columns" in caplog.text
    assert "nmae" in caplog.text


def test_hashing_without_a_secret_is_a_mistake() -> None:
    """The service does not start, and says what to set; the secret itself is shown nowhere."""
    policy = ModelPolicy.model_validate({"privacy": {"hash": ["c"]}})
    with pytest.raises(InvalidSettingsError, match="PRIVACY_KEY_FILE"):
        Settings(models={"m": policy}).require_privacy_key()
    given_ = Settings(models={"m": policy}, privacy_key=SecretStr("geheim" * 6))
    given_.require_privacy_key()
    assert "geheim" not in repr(given_) + repr(given_.keyed_hash())
    with pytest.raises(ValidationError):
        Settings(privacy_key=SecretStr("short"))
    with pytest.raises(ValidationError, match="not both"):
        ModelPolicy.model_validate({"privacy": {"hash": ["c"], "drop": ["c"]}})
    assert PREFIX not in repr(given_)
