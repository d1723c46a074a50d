"""A gate that cannot answer, on a real worker: an error is no failure, and what passes by itself is waited for."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from mlflow_ext.domain.promotion import PromotionState
from mlflow_ext.domain.stages import Stage
from tests.conftest import wait_until
from tests.integration.gateway import Gateway
from tests.integration.hook import PASSED, Hook, hook
from tests.integration.promotion.conftest import GOOD, Stack


@pytest.fixture
def asked_hook() -> Iterator[Hook]:
    """A hook that is content until told otherwise."""
    with hook() as kept:
        yield kept


def policy(url: str, **evaluation: Any) -> dict[str, Any]:
    """A metric, and the hook's word."""
    return {
        "evaluation": {"retry_after_s": 0.1, **evaluation},
        "gates": [{"metric": "roc_auc", "threshold": 0.6}, {"gate": "external", "url": url, "name": "hook"}],
    }


def events(stack: Stack, promotion_id: int) -> list[str]:
    """A promotion's story, without its notes."""
    return [step["event"] for step in stack.parts.promotions.story(promotion_id)]


@pytest.fixture
def alone(stack: Stack) -> Iterator[Stack]:
    """The stack with workers of this test's own only, since every worker may take every promotion."""
    own = replace(stack, processes=[])
    yield own
    own.stop_workers()


def test_a_flaky_hook_is_asked_again_and_a_dead_one_fails_the_promotion(alone: Stack, asked_hook: Hook) -> None:
    """503, then an answer: promoted in one run; only 503: failed with the reason, Production untouched."""
    asked_hook.answers = [(503, b""), (200, PASSED)]
    alone.start_worker(policy(asked_hook.url, retries=1))
    version = alone.register(GOOD)
    alone.move(version, Stage.STAGING)
    promoted = alone.ended(version)
    assert promoted.state is PromotionState.PROMOTED, promoted.reason + alone.logs()
    assert events(alone, promoted.id).count("gate_error") == 1
    question, again = asked_hook.asked
    assert (question["promotion"]["id"], question["promotion"]["run_id"]) == (promoted.id, promoted.run_id)
    assert question["candidate"]["metrics"]["roc_auc"] > 0.6
    assert question["registered"]["run_id"]
    assert again["promotion"]["run_id"] == promoted.run_id
    asked_hook.answers = [(503, b"")]
    dead = alone.register(GOOD)
    alone.move(dead, Stage.STAGING)
    failed = alone.ended(dead)
    assert (failed.state, alone.stage(version)) == (PromotionState.FAILED, Stage.PRODUCTION)
    assert "answered 503" in failed.reason
    assert "(asked 2 times)" in failed.reason
    assert len(asked_hook.asked) == 4


@pytest.mark.slow
@pytest.mark.parametrize("away", ["mlflow", "postgresql"])
def test_mlflow_or_postgresql_away_while_gates_judge_is_waited_for(alone: Stack, asked_hook: Hook, away: str) -> None:
    """Gone in the middle of the gates and back: promoted, published once, and no gate's error is counted."""
    server = alone.url if away == "mlflow" else alone.database_url
    with Gateway(server) as gateway:
        gone = threading.Event()

        def close() -> None:
            if not gone.is_set():
                gateway.close()
                gone.set()

        asked_hook.meanwhile = close
        near = replace(alone, **{"url": gateway.url} if away == "mlflow" else {"database_url": gateway.database_url})
        near.start_worker(policy(asked_hook.url))
        version = alone.register(GOOD)
        alone.move(version, Stage.STAGING)
        assert gone.wait(60), alone.logs()
        if away == "mlflow":
            [promotion] = alone.promotions()
            wait_until(lambda: "retry" in events(alone, promotion.id), 60, alone.logs)
        gateway.open()
        promoted = alone.ended(version)
        alone.stop_workers()
    assert promoted.state is PromotionState.PROMOTED, promoted.reason + alone.logs()
    told = events(alone, promoted.id)
    assert told.count("published") == 1
    assert "gate_error" not in told
    assert len(asked_hook.asked) >= (2 if away == "mlflow" else 1)
