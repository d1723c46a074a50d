"""The `GateContext` port: what a gate sees of a real model on MLflow is what it sees of the twin."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from sklearn.linear_model import LogisticRegression

from mlflow_ext.domain.pins import FileDigest, Manifest
from mlflow_ext.domain.provenance import Provenance
from mlflow_ext.domain.signature import Column, Signature
from mlflow_ext.errors import EvaluationImpossibleError, MissingEvidenceError
from mlflow_ext.gate_context import AskedFor, GateContext, LoadCost, LoggedRequests, Registered, Rerun
from mlflow_ext.registry.client import connect
from mlflow_ext.registry.description import with_block
from mlflow_ext.registry.gate_context import RunContext
from mlflow_ext.registry.judged_version import LoadedVersion
from mlflow_ext.registry.loading import open_model
from mlflow_ext.testing import MemoryContext, MemoryVersion
from tests.integration.registered import pointed_at, register
from tests.integration.small_project import write_project

FRAME = pd.DataFrame({"a": np.linspace(-2, 2, 40), "b": np.tile([0.5, -0.5], 20)})
LABELS = np.where(FRAME["a"] + FRAME["b"] > 0, "yes", "no")
ROWS = FRAME.assign(target=LABELS, note="not a feature")
SIGNATURE = Signature((Column("a", "double"), Column("b", "double")), (Column("0", "string"),))
TRAINING = "artifact:data/training.parquet"
ASKED_FOR = AskedFor(7, "gate-context", 1, source="cli", run_id="e")
MODEL = LogisticRegression().fit(FRAME, LABELS)


@dataclass
class Bench:
    """A context, and a look at what was kept with the evidence."""

    context: GateContext
    kept: Callable[[str], bytes]
    registered: GateContext
    without_champion: GateContext
    broken_champion: GateContext


def twin() -> Bench:
    """The same model as plain functions."""

    def features(frame: pd.DataFrame) -> pd.DataFrame:
        if "b" not in frame:
            raise EvaluationImpossibleError("lacks columns that it needs: b")
        return frame[["a", "b"]]

    def version(number: int) -> MemoryVersion:
        return MemoryVersion(
            number,
            {"accuracy_score": 1.0},
            answer=lambda frame: MODEL.predict(features(frame)),
            probabilities=lambda frame: MODEL.predict_proba(features(frame)),
            classes=MODEL.classes_,
            signature=SIGNATURE,
        )

    context = MemoryContext(version(2), ROWS, version(1), again={"rmse": 3.0})

    def kept(path: str) -> bytes:
        return context.pictures[path] if path in context.pictures else context.tables[path].to_csv(index=False).encode()

    entry = Registered("gate-context", 1, "mine", "ours", {"owner": "ann"}, {"owner": "bob", "team": "red"}, "r")
    files = Provenance(Manifest.of([FileDigest("MLmodel", 1, "ab" * 32)]), unsigned="it is not signed")
    more = {"entry": entry, "others": {TRAINING: ROWS.head(3)}, "files": files, "asked_for": ASKED_FOR}
    return Bench(
        *(context, kept, MemoryContext(replace(version(2), cost=LoadCost(0.2, 0.1, 2, 1)), ROWS, **more)),
        *(MemoryContext(version(2), ROWS), MemoryContext(version(2), ROWS, None, "gone")),
    )


def real(mlflow_url: str, directory: Path) -> Bench:
    """A registered model, fetched and loaded as promotions do."""
    client = connect(mlflow_url)
    registered = register(mlflow_url, "gate-context", MODEL, input_example=FRAME.head(2))
    with pointed_at(mlflow_url):
        opened = open_model(client, registered, directory, trust="types")
    run_id = client.create_run("0").info.run_id

    def version(number: int) -> LoadedVersion:
        return LoadedVersion(
            opened.model, version=number, name="it", directory=opened.directory, metrics={"accuracy_score": 1.0}
        )

    def context(champion: Callable[[], LoadedVersion | None]) -> RunContext:
        return RunContext(client, run_id, version(2), champion, ROWS, "target", "classifier", nothing)

    def nothing() -> LoggedRequests:
        raise MissingEvidenceError("no request is logged")

    def broken() -> LoadedVersion:
        raise EvaluationImpossibleError("gone")

    def kept(path: str) -> bytes:
        return Path(client.download_artifacts(run_id, path, str(directory))).read_bytes()

    production = version(1)
    text = with_block("mine", "**Promotion 1**\n")
    client.update_model_version("gate-context", str(registered.version), text)
    client.update_registered_model("gate-context", "ours")
    client.set_model_version_tag("gate-context", str(registered.version), "owner", "ann")
    for key, value in {"owner": "bob", "team": "red"}.items():
        client.set_registered_model_tag("gate-context", key, value)
    of_registry = replace(context(lambda: None), version=registered, asked_for=ASKED_FOR)
    rows = directory / "training.parquet"
    ROWS.head(3).to_parquet(rows)
    client.log_artifact(registered.run_id or "", str(rows), "data")
    return Bench(context(lambda: production), kept, of_registry, context(lambda: None), context(broken))


@pytest.fixture(params=["twin", "mlflow"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """The same bench on the twin and on MLflow."""
    if request.param == "twin":
        yield twin()
        return
    url = request.getfixturevalue("mlflow_url")
    with pointed_at(url):
        yield real(url, tmp_path)


def test_a_version_answers_with_arrays(bench: Bench) -> None:
    """Labels are one a row, probabilities one a class in the order of `classes`; other columns do not disturb."""
    candidate = bench.context.candidate
    labels, scores, classes = candidate.predict(ROWS), candidate.scores(ROWS), candidate.classes
    assert labels.shape == (40,)
    assert labels.tolist() == MODEL.predict(FRAME).tolist()
    assert scores is not None
    assert classes is not None
    assert (scores.shape, classes.tolist()) == ((40, 2), ["no", "yes"])
    assert np.allclose(scores.sum(axis=1), 1)
    assert (classes[scores.argmax(axis=1)] == labels).all()
    assert candidate.predict(ROWS[ROWS["a"] > 0].reset_index(drop=True)).shape == (20,)
    assert (candidate.version, dict(candidate.metrics)) == (2, {"accuracy_score": 1.0})
    assert candidate.directory.is_dir()
    assert candidate.signature == SIGNATURE


def test_rows_that_it_cannot_take_are_an_error_in_words(bench: Bench) -> None:
    """A missing column is named."""
    with pytest.raises(EvaluationImpossibleError, match=r"lacks columns .*: b"):
        bench.context.candidate.predict(ROWS[["a"]])


def test_the_champion_is_there_or_not_or_says_why(bench: Bench) -> None:
    """None without a version in Production; an error when there is one that cannot be measured."""
    assert bench.context.champion is not None
    assert bench.context.champion.version == 1
    assert bench.without_champion.champion is None
    with pytest.raises(EvaluationImpossibleError, match="gone"):
        _ = bench.broken_champion.champion


def test_without_logged_requests_it_says_so(bench: Bench) -> None:
    """There is nothing to replay."""
    with pytest.raises(MissingEvidenceError, match="no request is logged"):
        _ = bench.context.requests


def test_what_the_registry_says(bench: Bench) -> None:
    """The version's own words come before the model's, and our block is not its author's text."""
    found = bench.registered.registered
    assert (found.model, found.description, found.model_description) == ("gate-context", "mine", "ours")
    assert (found.tag("owner"), found.tag("team"), found.tag("none")) == ("ann", "red", "")
    assert found.run_id
    with pytest.raises(MissingEvidenceError, match="not registered"):
        _ = bench.context.registered


def test_a_registered_version_has_other_rows_files_and_a_promotion(bench: Bench) -> None:
    """Training rows by their source, files with digests and without a signature, and who asked."""
    context = bench.registered
    pd.testing.assert_frame_equal(context.read_rows(TRAINING), ROWS.head(3))
    with pytest.raises(MissingEvidenceError, match="log it in the run that logs the model"):
        context.read_rows("artifact:data/none.parquet")
    files = context.provenance({"ann": "/none/ann.pub"})
    assert "MLmodel" in {file.path for file in files.manifest.files}
    assert (files.refused, files.publisher, "not signed" in files.unsigned) == ("", None, True)
    assert context.promotion == ASKED_FOR
    with pytest.raises(MissingEvidenceError, match="without a promotion"):
        _ = bench.context.promotion


def test_what_loading_costs(bench: Bench) -> None:
    """Times and memory of the model's own."""
    cost = bench.registered.candidate.load_cost(ROWS)
    assert 0 < cost.load_s < 120
    assert 0 < cost.first_s < 120
    assert 0 <= cost.resident_bytes <= cost.peak_bytes < 1e9


def test_evidence_is_kept_under_names_of_its_own(bench: Bench) -> None:
    """Pictures are PNG and tables CSV, and the same name twice gives two files."""
    context = bench.context
    open_before = pyplot.get_fignums()
    pictures = []
    for _ in range(2):
        figure, axes = pyplot.subplots()
        axes.plot([0, 1])
        pictures.append(context.save_picture("curve", figure))
    table = context.save_table("curve", ROWS.head(2))
    assert (pictures, table) == (["gates/curve.png", "gates/curve-2.png"], "gates/curve.csv")
    assert all(bench.kept(path).startswith(b"\x89PNG") for path in pictures)
    assert bench.kept(table).decode().splitlines()[0] == "a,b,target,note"
    assert pyplot.get_fignums() == open_before


def test_a_model_that_is_logged_to_answer_with_probabilities_still_gives_labels(
    mlflow_url: str, tmp_path: Path
) -> None:
    """`pyfunc_predict_fn="predict_proba"`: gates compare labels and probabilities all the same."""
    registered = register(
        mlflow_url, "gate-context-proba", MODEL, input_example=FRAME.head(2), pyfunc_predict_fn="predict_proba"
    )
    with pointed_at(mlflow_url):
        opened = open_model(connect(mlflow_url), registered, tmp_path, trust="types")
    assert np.ndim(opened.model.predict(FRAME)) == 2
    version = LoadedVersion(opened.model, version=1, name="it", directory=opened.directory, metrics={})
    assert version.predict(ROWS).tolist() == MODEL.predict(FRAME).tolist()
    scores = version.scores(ROWS)
    assert scores is not None
    assert np.allclose(scores, MODEL.predict_proba(FRAME))
    bare = LoadedVersion(opened.model, version=0, name="it", directory=None, metrics={})
    with pytest.raises(MissingEvidenceError, match="not at hand"):
        _ = bare.directory


@pytest.mark.timeout(900)
def test_training_is_run_once_more(bench: Bench, tmp_path: Path) -> None:
    """What that run measured comes back; one that fails is an error that names the project."""
    project = tmp_path / "project"
    write_project(project)
    asked = Rerun(str(project), "train", ("seed",), "local", 800)
    assert dict(bench.context.rerun(asked, {"seed": "6"}, None)) == {"rmse": 3.0}
    with pytest.raises(EvaluationImpossibleError, match=f"{project} ended with code 1"):
        bench.without_champion.rerun(asked, {"seed": "13"}, None)
