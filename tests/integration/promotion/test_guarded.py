"""A guarded model with a real worker: by hand refused, by its gates promoted, overridden with a reason, rolled back."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlflow_ext.bootstrap import services
from mlflow_ext.cli import cli
from mlflow_ext.config import Settings
from mlflow_ext.domain.guard import GuardMode
from mlflow_ext.domain.promotion import PromotionState
from mlflow_ext.domain.stages import Mark, Stage
from mlflow_ext.errors import GateRefusedError
from mlflow_ext.store.audit import SqlAudit
from mlflow_ext.store.guard import Guard
from tests.conftest import wait_until
from tests.integration.promotion.conftest import GATES, GOOD, WEAK, Stack


@pytest.fixture(scope="module")
def trail(shared: Stack) -> Iterator[SqlAudit]:
    """The trail of the shared database, which a worker has told that models are guarded; as before afterwards."""
    with services(Settings.model_validate({"database_url": shared.database_url})) as parts:
        shared.start_worker(GATES | {"governance": {"guard": "enforce"}})
        guard = Guard(parts.engine)
        wait_until(lambda: guard.mode("any") is GuardMode.ENFORCE, 30, shared.logs)
        yield SqlAudit(parts.engine)
        shared.stop_workers()
        guard.set_modes(GuardMode.WARN, {})


def test_a_guarded_models_life(stack: Stack, trail: SqlAudit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each way to Production and back, its words, its marks, and what the trail says of it afterwards."""
    monkeypatch.setenv("MLFLOW_EXT_DATABASE_URL", stack.database_url)
    monkeypatch.setenv("MLFLOW_EXT_MLFLOW_URL", stack.url)
    monkeypatch.setenv("MLFLOW_EXT_ACTOR", "carol")
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    good, weak = stack.register(GOOD), stack.register(WEAK)

    with pytest.raises(GateRefusedError, match="have not been computed yet"):
        stack.move(good, Stage.PRODUCTION)
    stack.move(good, Stage.STAGING)
    assert stack.ended(good).state is PromotionState.PROMOTED, stack.logs()
    agreed(stack, good)

    stack.move(weak, Stage.STAGING)
    assert stack.ended(weak).state is PromotionState.REJECTED
    with pytest.raises(GateRefusedError, match=r'ended as "rejected": It is rejected .* roc_auc'):
        stack.move(weak, Stage.PRODUCTION)
    assert stack.stage(good) is Stage.PRODUCTION

    usage = run.invoke(cli, ["promote", stack.model, str(weak), "--override"])
    assert (usage.exit_code, "--reason" in usage.output) == (2, True)
    override = ["promote", stack.model, str(weak), "--override", "--reason", "incident 7", "--wait", "--timeout", "60"]
    done = run.invoke(cli, override)
    assert done.exit_code == 0, done.output + stack.logs()
    agreed(stack, weak)
    assert (
        "past its gates, by carol: incident 7"
        in stack.client.get_model_version(stack.model, str(weak)).tags["mlflow_ext.override"]
    )
    asked = json.loads(run.invoke(cli, ["audit", "at", "2999-01-01", "-m", stack.model, "--json"]).output)
    assert (asked["version"], asked["brought"]["source"]) == (weak, "robot")
    assert [step["action"] for step in asked["promotion"]] == [
        "promotion:requested",
        "promotion:override",
        "promotion:published",
    ]

    assert run.invoke(cli, ["rollback", stack.model]).exit_code == 0
    agreed(stack, good)
    with pytest.raises(GateRefusedError, match='ended as "rolled back"'):
        stack.move(weak, Stage.PRODUCTION)
    assert trail.verify(stack.model) == []
    assert [e.action for e in trail.entries(stack.model)].count("guard:refused") == 3


def agreed(stack: Stack, production: int) -> None:
    """Wait until every mark says that this version, and no other, is in Production."""

    def looked() -> bool:
        versions = stack.parts.view.versions(stack.model)
        return all(
            [mark for mark in Mark if one.stage_by(mark) is Stage.PRODUCTION]
            == (list(Mark) if one.version == production else [])
            for one in versions
        )

    wait_until(looked, 30, stack.logs)
