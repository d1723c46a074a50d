"""The evaluation: what cannot be measured says why, and a process that misbehaves is an error, never a hang."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from mlflow_ext.domain.gates import Verdict
from mlflow_ext.domain.importance import ColumnImportance, importance_file
from mlflow_ext.domain.promotion import Promotion, PromotionState
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import (
    ConflictError,
    EvaluationCrashedError,
    EvaluationImpossibleError,
    MlflowExtError,
    UnavailableError,
)
from mlflow_ext.gate_context import LoggedRequests
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.registry.evaluator import ProcessEvaluator
from mlflow_ext.registry.measuring import measure
from mlflow_ext.registry.run_files import RunFiles
from mlflow_ext.testing import MemoryPins, MemoryRequests
from tests.conftest import free_port
from tests.integration.promotion.conftest import FRAME, GOOD, TARGET, Stack
from tests.integration.registered import pointed_at

THRESHOLD = {"metric": "roc_auc", "threshold": 0.9}
CHANGE = {"metric": "roc_auc", "min_absolute_change": 0.0}
NUMBERS = iter(range(1_000_000, 2_000_000))


@pytest.fixture(scope="module")
def good(shared: Stack) -> ModelVersion:
    """A version with evaluation data, for all tests that only read it."""
    own = replace(shared, model="evaluator-good")
    return own.parts.view.version(own.model, own.register(GOOD))


@pytest.fixture(autouse=True)
def _own_mlflow(shared: Stack) -> Iterator[None]:
    """`measure` points this process at the server; put that back afterwards."""
    with pointed_at(shared.url):
        yield


def request(stack: Stack, candidate: ModelVersion, champion: ModelVersion | None = None, **evaluation: Any) -> Any:
    """What the parent would write to the evaluation process."""
    policy = ModelPolicy.model_validate({"gates": [THRESHOLD, CHANGE], "evaluation": evaluation})

    def document(version: ModelVersion) -> dict[str, Any]:
        return {key: getattr(version, key) for key in ("model", "version", "run_id", "source", "workspace")}

    return {
        "mlflow_url": stack.url,
        "models": str(stack.directory / "models"),
        "promotion_id": next(NUMBERS),
        "dry_run": False,
        "source": "cli",
        "requested_by": "ann",
        "attempt": 1,
        "candidate": document(candidate),
        "champion": document(champion) if champion else None,
        "champion_files": None,
        "policy": policy.model_dump(mode="json"),
        "requests": {"missing": "none"},
    }


def test_both_sides_are_measured_on_the_same_rows_in_one_run(shared: Stack, good: ModelVersion) -> None:
    """The same model on both sides has the same metrics; measuring again uses the same run."""
    asked = request(shared, good, good)
    first, again = measure(asked), measure(asked)
    assert first.details["champion"] == first.details["candidate"]
    assert (first.details["rows"], first.evidence_run_id) == (284, again.evidence_run_id)
    assert {"roc_auc", "f1_score", "log_loss"} <= set(first.details["candidate"])
    assert [result.verdict for result in first.results] == [Verdict.PASSED, Verdict.PASSED]


def test_what_the_model_says_about_its_columns_is_kept_beside_the_version(shared: Stack, good: ModelVersion) -> None:
    """The gates' process has it loaded; drift checks, which load nothing, read the file in the version's run."""
    measure(request(shared, good))
    content = RunFiles(shared.client).read(good, importance_file(good.source))
    assert content is not None
    found = ColumnImportance.from_json(content)
    assert found is not None
    assert set(found.columns) == set(GOOD)
    assert found.source == "|coef_| times standard deviation of LogisticRegression"


def test_data_may_be_a_csv_of_ones_own(shared: Stack, good: ModelVersion, tmp_path: Path) -> None:
    """`evaluation.data` names a file; rows without a label are left out and counted; column order does not matter."""
    file = tmp_path / "rows.csv"
    frame = FRAME[GOOD[::-1]].assign(label=TARGET.astype(float), extra="x")
    frame.loc[frame.index[:9], "label"] = None
    frame.to_csv(file, index=False)
    found = measure(request(shared, good, data=str(file), target="label"))
    assert found.details["rows"] == len(FRAME) - 9
    assert found.details["dataset"]["unlabelled_rows"] == "9"


def test_what_cannot_be_measured_says_why_and_what_to_do(shared: Stack, good: ModelVersion, tmp_path: Path) -> None:
    """Each cause has its own sentence."""

    def refusal(**policy: Any) -> str:
        with pytest.raises(EvaluationImpossibleError) as raised:
            measure(request(shared, good, **policy))
        return str(raised.value)

    FRAME.assign(target=1).to_parquet(tmp_path / "one.parquet")
    FRAME[GOOD[1:]].assign(target=TARGET).to_parquet(tmp_path / "narrow.parquet")
    (tmp_path / "noise.parquet").write_text("noise")
    assert "has no artifact 'data/other.parquet'" in refusal(data="artifact:data/other.parquet")
    assert "has no column 'label'" in refusal(target="label")
    assert "one class only" in refusal(data=str(tmp_path / "one.parquet"))
    assert f"lacks columns that version 1 of evaluator-good needs: {GOOD[0]}" in refusal(
        data=str(tmp_path / "narrow.parquet")
    )
    assert "neither Parquet nor CSV" in refusal(data=str(tmp_path / "noise.parquet"))
    assert "cannot be read" in refusal(data=str(tmp_path / "missing.csv"))
    with pytest.raises(EvaluationImpossibleError, match="was not logged by an MLflow run"):
        measure(request(shared, replace(good, run_id=None)))


def test_a_champion_that_cannot_be_measured_does_not_stop_the_candidate(shared: Stack, good: ModelVersion) -> None:
    """Its reason is kept for the gates that compare."""
    found = measure(request(shared, good, replace(good, version=99, source="models:/m-gone")))
    assert found.details["champion"] is None
    assert found.details["champion_error"]
    assert [result.verdict for result in found.results] == [Verdict.PASSED, Verdict.ERROR]
    assert "version 99 in Production could not be measured" in found.reason


def test_a_regressor_is_measured_with_its_own_metrics(stack: Stack, tmp_path: Path) -> None:
    """`model_type: regressor` gives root_mean_squared_error and the like."""
    model = LinearRegression().fit(FRAME[GOOD], FRAME["worst radius"])
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(model, name="model", input_example=FRAME[GOOD].head(2), pip_requirements=[])
    stack.client.create_registered_model(stack.model)
    made = stack.client.create_model_version(
        stack.model, info.model_uri, run_id=run.info.run_id, model_id=info.model_id
    )
    file = tmp_path / "rows.parquet"
    FRAME.to_parquet(file)
    version = ModelVersion(stack.model, int(made.version), run_id=run.info.run_id, source=made.source)
    found = measure(request(stack, version, data=str(file), target="worst radius", model_type="regressor"))
    assert 0 < found.details["candidate"]["root_mean_squared_error"] < 2


def evaluate(stack: Stack, version: ModelVersion, *, url: str | None = None, cancel: bool = False, **more: Any) -> str:
    """Evaluate in a process that goes wrong; gives the error as text."""
    promotion = Promotion(next(NUMBERS), version.model, version.version, PromotionState.EVALUATING, "cli")
    policy = ModelPolicy.model_validate({"serving": {"trust": "code"}, "evaluation": more})
    evaluator = ProcessEvaluator(url or stack.url, stack.directory / "models", MemoryPins(), MemoryRequests())
    with pytest.raises(MlflowExtError) as raised:
        evaluator.evaluate(promotion, version, None, policy, lambda: cancel)
    return f"{type(raised.value).__name__}: {raised.value}"


def test_every_gate_judges_in_the_evaluation_process(shared: Stack, good: ModelVersion) -> None:
    """The whole way: logged requests exported, gates run in the child, pictures and tables in the promotion's run."""
    count = len(FRAME)
    meta = pd.DataFrame({"request_id": [f"r{n}" for n in range(count)], "row": 0, "version": good.version})
    meta["at"] = pd.Timestamp("2026-03-01T00:00:00Z")
    logged = LoggedRequests(meta, FRAME[GOOD], pd.DataFrame({"prediction": TARGET}))
    gates = [
        CHANGE,
        {"gate": "better_than_champion", "ask": "non_inferior", "margin": 0.01},
        {"gate": "signature"},
        {"gate": "calibration", "max_ece": 0.2, "importance": "advisory"},
        {"gate": "slices", "columns": ["mean radius"], "max_gap": 0.5, "max_loss": 0.0},
        {"gate": "performance", "max_size_mb": 100, "max_p50_ratio": 10, "calls": 20},
        {"gate": "documentation", "min_characters": 0, "tags": []},
        {"gate": "reproducibility", "commit": False, "clean": False, "dataset": False},
        {"gate": "behaviour", "min_agreement": 0.99, "max_change": 0.0},
    ]
    promotion = Promotion(next(NUMBERS), good.model, good.version, PromotionState.EVALUATING, "cli")
    evaluator = ProcessEvaluator(
        shared.url, shared.directory / "models", MemoryPins(), MemoryRequests({good.model: logged})
    )
    policy = ModelPolicy.model_validate({"gates": gates})
    report = evaluator.evaluate(promotion, good, good, policy, lambda: False)
    assert [(one.gate, one.verdict) for one in report.results if one.verdict is not Verdict.PASSED] == []
    assert len(report.results) == 12
    assert {one.gate for one in report.results} == {one.get("gate", "metric") for one in gates}
    assert report.results[-1].sample_size == count
    assert report.evidence_run_id is not None
    kept = {file.path for file in shared.client.list_artifacts(report.evidence_run_id, "gates")}
    assert {one.picture for one in report.results if one.picture} <= kept
    assert "gates/behaviour.png" in kept


def test_a_process_that_is_killed_hangs_or_is_cancelled_is_ended(shared: Stack, stack: Stack) -> None:
    """A model that kills its process, one that sleeps, a worker that stops: an error each, within the time allowed."""

    class Deadly(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # MLflow reads hints
            import os

            os.kill(os.getpid(), 9)

    with mlflow.start_run() as run:
        file = stack.directory / "evaluation.parquet"
        FRAME.assign(target=TARGET).to_parquet(file, index=False)
        mlflow.log_artifact(str(file), "data")
        info = mlflow.pyfunc.log_model(name="model", python_model=Deadly(), pip_requirements=[])
    stack.client.create_registered_model(stack.model)
    made = stack.client.create_model_version(
        stack.model, info.model_uri, run_id=run.info.run_id, model_id=info.model_id
    )
    deadly = ModelVersion(stack.model, int(made.version), run_id=run.info.run_id, source=made.source)
    crashed = evaluate(stack, deadly)
    assert crashed.startswith(EvaluationCrashedError.__name__)
    assert "signal 9 (SIGKILL)" in crashed
    begun = time.monotonic()
    slow = evaluate(stack, deadly, timeout_s=0.2)
    assert slow.startswith(EvaluationCrashedError.__name__)
    assert "longer than 0.2 s" in slow
    assert evaluate(stack, deadly, cancel=True).startswith(ConflictError.__name__)
    assert time.monotonic() - begun < 20


def test_mlflow_away_is_told_apart_from_a_bad_model(shared: Stack, good: ModelVersion) -> None:
    """A server that does not answer means: try again."""
    assert evaluate(shared, good, url=f"http://127.0.0.1:{free_port()}").startswith(UnavailableError.__name__)
