"""A version's ONNX twin from its promotion to the process that serves it: nobody can swap it on the way."""

import hashlib
from pathlib import Path

import pytest
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlflow_ext.domain.stages import Stage
from mlflow_ext.domain.twins import JudgedTwin, TwinFacts, TwinNotMadeError, TwinRefusedError
from mlflow_ext.errors import UnavailableError
from mlflow_ext.registry.trusted_types import TRUSTED_TYPES
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.judged_twins import JudgedTwins
from serving.host.twins import FOLDER, Twins
from tests.integration.promotion.conftest import GATES, GOOD, Stack


def test_from_promotion_to_service(stack: Stack, tmp_path: Path) -> None:
    """What the gates' process made is what is served: by digest, from the run or the copy, and nothing else."""
    network = make_pipeline(StandardScaler(), MLPClassifier((64, 32), max_iter=300, random_state=0, tol=1e-2))
    version = stack.register(GOOD, pipeline=network, skops_trusted_types=TRUSTED_TYPES)
    stack.start_worker({**GATES, "serving": {"quantise": "int8", "quantise_loss": 0.05}})
    stack.move(version, Stage.STAGING)
    assert stack.ended(version).state == "promoted"
    engine = make_engine(stack.database_url)
    judged = JudgedTwins(engine).of(stack.model, version)
    assert JudgedTwins(engine).of(stack.model, version + 1) is None
    engine.dispose()
    assert judged is not None
    assert judged.facts is not None
    assert judged.facts.rows > 4_000
    assert judged.run_id is not None

    def twins(name: str) -> Twins:
        return Twins(stack.client, tmp_path / name, lambda *_: judged)

    content = twins("a").find(stack.model, version, 1e-9, pinned=True)
    judged.facts.check(content)
    # the same of the quantised one, whose own gate stands in the report
    assert judged.quantised is not None, judged.quantised_refused
    assert judged.quantised.size_bytes < judged.facts.size_bytes
    assert judged.quantised.rows >= 200
    small = twins("a").find_quantised(stack.model, version, 0.05, pinned=True)
    assert hashlib.sha256(small).hexdigest() == judged.quantised.sha256
    # somebody changes the copy: the run's file is taken; and the run's file too: there is no twin
    copy = tmp_path / "a" / FOLDER / f"{judged.facts.sha256}.onnx"
    assert copy.read_bytes() == content
    copy.write_bytes(content[:-1])
    assert twins("a").find(stack.model, version, 1e-9, pinned=True) == content
    for changed in (content[:-1] + b"\x00", content + b"\x00"):
        file = tmp_path / "model.onnx"
        file.write_bytes(changed)
        stack.client.log_artifact(judged.run_id, str(file), "twin")
        with pytest.raises(TwinRefusedError, match="changed"):
            twins("b").find(stack.model, version, 1e-9, pinned=True)
    # the copy that was right goes on
    assert twins("a").find(stack.model, version, 1e-9, pinned=True) == content


def test_what_was_refused_is_not_tried_again(stack: Stack, tmp_path: Path) -> None:
    """A refusal stands with its reason, unless policy has allowed more since, or the files are others."""
    refused = JudgedTwin(None, 1e-9, refused="it cannot be converted")
    twins = Twins(stack.client, tmp_path, lambda *_: refused)
    with pytest.raises(TwinRefusedError, match="cannot be converted"):
        twins.find("m", 1, 1e-9, pinned=True)
    for tolerance, pinned in ((1e-6, True), (1e-9, False)):
        with pytest.raises(TwinNotMadeError):
            twins.find("m", 1, tolerance, pinned=pinned)


def test_a_run_that_is_gone(stack: Stack, tmp_path: Path) -> None:
    """Where the file cannot be had, nor PostgreSQL be asked, a twin is to be made of the files that were judged."""
    judged = JudgedTwin(TwinFacts("0" * 64, 1, "double", 1, 0.0), 1e-9, run_id="0" * 32, artifact="twin/model.onnx")

    def away(_: str, __: int) -> JudgedTwin | None:
        raise UnavailableError

    for asked in (away, lambda *_: judged):
        with pytest.raises(TwinNotMadeError):
            Twins(stack.client, tmp_path, asked).find("m", 1, 1e-9, pinned=True)
