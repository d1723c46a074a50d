"""The promotion worker as a process, on real PostgreSQL and a real MLflow server."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, text

from mlflow_ext.domain.promotion import PromotionState
from mlflow_ext.domain.stages import Stage
from tests.conftest import wait_until
from tests.integration.promotion.conftest import GATES, GOOD, WEAK, Stack


@pytest.fixture(scope="module", autouse=True)
def _worker(shared: Stack) -> None:
    """One worker for the module, with gates for every model."""
    shared.start_worker(GATES)


def test_a_good_candidate_is_promoted_and_mlflow_tells_why(stack: Stack) -> None:
    """Measured against Production on the same rows, promoted, and shown in run, tags and description."""
    weak, good = stack.register(WEAK), stack.register(GOOD)
    stack.move(weak, Stage.PRODUCTION)
    stack.client.update_model_version(stack.model, str(good), "My own words.")
    stack.client.set_registered_model_alias(stack.model, "staging", str(good))
    promotion = stack.ended(good)
    assert promotion.state is PromotionState.PROMOTED, promotion.reason + stack.logs()
    assert (stack.stage(good), stack.stage(weak)) == (Stage.PRODUCTION, Stage.ARCHIVED)
    assert promotion.champion_version == weak
    assert promotion.report is not None
    # nobody has sent a request yet
    assert [one["verdict"] for one in promotion.report["results"]] == ["passed", "passed", "inconclusive"]
    assert "no request to" in promotion.report["results"][-1]["reason"]
    assert promotion.run_id is not None

    run = stack.client.get_run(promotion.run_id)
    assert run.data.metrics["candidate.roc_auc"] > run.data.metrics["champion.roc_auc"] > 0
    assert run.data.metrics["candidate.example_count"] == run.data.metrics["champion.example_count"] == 284
    assert run.data.tags["mlflow_ext.gates"] == "passed"
    assert run.info.status == "FINISHED"
    assert {one.dataset.name for one in run.inputs.dataset_inputs} == {"evaluation"}
    assert len({one.dataset.digest for one in run.inputs.dataset_inputs}) == 1
    artifacts = {one.path for one in stack.client.list_artifacts(promotion.run_id)}
    assert {"gates.html", "gates.json", "candidate.roc_curve_plot.png"} <= artifacts
    assert not any(path.startswith("champion.") for path in artifacts)
    page = Path(stack.client.download_artifacts(promotion.run_id, "gates.html", str(stack.directory)))
    assert f"{run.data.metrics['candidate.roc_auc']:.6g}" in page.read_text()
    assert page.read_text().count('src="data:image/png;base64,') == 1
    assert run.data.metrics["gates/1-metric"] == run.data.metrics["candidate.roc_auc"]
    experiment = stack.client.get_experiment(run.info.experiment_id)
    assert experiment.name == f"mlflow-ext/promotions/{stack.model}"

    version = stack.client.get_model_version(stack.model, str(good))
    assert version.tags["mlflow_ext.promotion"] == str(promotion.id)
    assert version.tags["mlflow_ext.gates"] == "passed"
    assert version.tags["mlflow_ext.promotion_run"] == promotion.run_id
    assert version.description.startswith(f"My own words.\n\n**Promotion {promotion.id}: gates passed.**")
    assert promotion.policy_hash is not None
    assert [one.version for one in stack.promotions()] == [good]


def test_a_worse_candidate_is_rejected_with_the_reason(stack: Stack) -> None:
    """It stays in Staging, Production stays, and tag and description say why."""
    good, weak = stack.register(GOOD), stack.register(WEAK)
    stack.move(good, Stage.PRODUCTION)
    stack.move(weak, Stage.STAGING)
    promotion = stack.ended(weak)
    assert promotion.state is PromotionState.REJECTED, promotion.reason
    assert "roc_auc is" in promotion.reason
    assert f"version {good} in Production has" in promotion.reason
    assert (stack.stage(good), stack.stage(weak)) == (Stage.PRODUCTION, Stage.STAGING)
    version = stack.client.get_model_version(stack.model, str(weak))
    assert version.tags["mlflow_ext.gates"] == "failed"
    assert "It is rejected" in version.description


def test_what_cannot_be_evaluated_fails_with_the_way_out(stack: Stack) -> None:
    """No evaluation data, and a model that would run code: failed, said at the version, Production untouched."""
    good = stack.register(GOOD)
    stack.move(good, Stage.PRODUCTION)
    bare = stack.register(GOOD, data=False)
    pickled = stack.register(GOOD, serialization_format="cloudpickle")
    stack.move(bare, Stage.STAGING)
    stack.move(pickled, Stage.STAGING)
    no_data, unsafe = stack.ended(bare), stack.ended(pickled)
    assert (no_data.state, unsafe.state) == (PromotionState.FAILED, PromotionState.FAILED)
    assert "has no artifact 'data/evaluation.parquet'; log it there" in no_data.reason
    assert "trust: code" in unsafe.reason
    assert stack.stage(good) is Stage.PRODUCTION
    assert stack.client.get_model_version(stack.model, str(bare)).tags["mlflow_ext.gates"] == "error"


def test_two_workers_have_one_effect_and_a_person_outranks_them(stack: Stack) -> None:
    """Two workers see the same marks: one promotion, one run; a version moved away meanwhile is superseded."""
    second = stack.start_worker(GATES)
    good, other = stack.register(GOOD), stack.register(GOOD)
    stack.move(good, Stage.STAGING)
    stack.move(other, Stage.STAGING)
    wait_until(lambda: stack.parts.promotions.find(stack.model, version=other), 30, stack.logs)
    stack.move(other, Stage.ARCHIVED)
    promotion = stack.ended(good)
    assert promotion.state is PromotionState.PROMOTED, promotion.reason
    superseded = stack.ended(other)
    assert (superseded.state, stack.stage(other)) == (PromotionState.SUPERSEDED, Stage.ARCHIVED)
    assert len(stack.promotions()) == 2
    assert promotion.run_id is not None
    experiment = stack.client.get_experiment_by_name(f"mlflow-ext/promotions/{stack.model}")
    runs = stack.client.search_runs([experiment.experiment_id], f"tags.`mlflow_ext.promotion` = '{promotion.id}'")
    assert [run.info.run_id for run in runs] == [promotion.run_id]
    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == 0


def test_a_worker_killed_while_it_evaluates_is_replaced(stack: Stack) -> None:
    """Kill -9 in the middle: its evaluation dies with it, the lease ends, another worker promotes, once, in one run."""
    stack.start_worker(GATES)
    good = stack.register(GOOD)
    stack.move(good, Stage.STAGING)
    engine = create_engine(stack.database_url)

    def holder() -> psutil.Process | None:
        """The worker that evaluates, once its evaluation process runs."""
        with engine.connect() as connection:
            owner = connection.execute(
                text("SELECT lease_owner FROM mlflow_ext.promotion WHERE model = :m AND state = 'evaluating'"),
                {"m": stack.model},
            ).scalar()
        worker = psutil.Process(int(owner.split(":")[1])) if owner else None
        return worker if worker and worker.children() else None

    wait_until(holder, 60, stack.logs)
    worker = holder()
    assert worker is not None
    evaluation = worker.children()[0]
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: not evaluation.is_running() or evaluation.status() == psutil.STATUS_ZOMBIE, 10)
    promotion = stack.ended(good)
    engine.dispose()
    assert promotion.state is PromotionState.PROMOTED, promotion.reason
    story = stack.parts.promotions.story(promotion.id)
    assert promotion.attempt == [step["event"] for step in story].count("claim") == 2
    assert [step["event"] for step in story].count("published") == 1
    experiment = stack.client.get_experiment_by_name(f"mlflow-ext/promotions/{stack.model}")
    assert len(stack.client.search_runs([experiment.experiment_id])) == 1
    if not any(process.poll() is None for process in stack.processes):
        stack.start_worker(GATES)


def test_the_command_line_and_python(stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Dry run, promote --wait, promotions --json, status and rollback, as a person uses them."""
    from click.testing import CliRunner

    import mlflow_ext
    from mlflow_ext.cli import cli

    weak, good = stack.register(WEAK), stack.register(GOOD)
    stack.move(weak, Stage.PRODUCTION)
    monkeypatch.setenv("MLFLOW_EXT_DATABASE_URL", stack.database_url)
    monkeypatch.setenv("MLFLOW_EXT_MLFLOW_URL", stack.url)
    monkeypatch.chdir(tmp_path)

    dry = mlflow_ext.promote(stack.model, good, dry_run=True, timeout_s=90)
    assert (dry.state, dry.ok, stack.stage(good)) == (PromotionState.EVALUATED, True, Stage.NONE)
    assert "roc_auc" in repr(dry)
    assert "<table>" in dry._repr_html_()
    assert "mlflow_ext.gates" not in stack.client.get_model_version(stack.model, str(good)).tags

    run = CliRunner()
    tried = run.invoke(cli, ["gates", "run", stack.model, str(good), "--timeout", "90"])
    assert tried.exit_code == 0, tried.output
    for part in ("evaluated", "passed (advisory)", "roc_auc is", f"version {weak} in Production", "gates.html in run"):
        assert part in " ".join(tried.output.split())
    failed = run.invoke(cli, ["gates", "run", stack.model, str(weak), "--timeout", "90", "--json"])
    report = json.loads(failed.stdout)
    assert (failed.exit_code, report["verdict"], stack.stage(good)) == (1, "failed", Stage.NONE)
    done = run.invoke(cli, ["promote", stack.model, str(good), "--wait", "--timeout", "90"])
    assert done.exit_code == 0, done.output
    assert "promoted" in done.output
    listed = json.loads(run.invoke(cli, ["promotions", stack.model, "--json"]).output)
    assert [(one["state"], one["version"]) for one in listed] == [
        *(("promoted", good), ("evaluated", weak), ("evaluated", good), ("evaluated", good)),
    ]
    assert listed[0]["story"][-1]["event"] == "published"
    drawn = run.invoke(cli, ["promotions", stack.model]).output
    assert f"version {good} in Production" in drawn
    assert f"version {good} is in Production" not in repr(mlflow_ext.status(stack.model))
    assert f"Production version {good}" in repr(mlflow_ext.status(stack.model))

    back = run.invoke(cli, ["rollback", stack.model])
    assert f"version {weak} is in Production again, instead of version {good}" in back.output
    assert (stack.stage(weak), stack.stage(good)) == (Stage.PRODUCTION, Stage.ARCHIVED)
    assert stack.promotions()[0].state is PromotionState.ROLLED_BACK
    again = run.invoke(cli, ["rollback", stack.model], catch_exceptions=True)
    assert "no earlier good version" in str(again.exception)
