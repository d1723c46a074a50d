"""Approvals on real MLflow and PostgreSQL: the command line decides, a worker process goes on."""

import contextlib
import os
import pty
import signal
import subprocess
import sys

from mlflow_ext.domain.promotion import PromotionState
from mlflow_ext.domain.stages import Stage
from mlflow_ext.domain.staging import APPROVED_TAG
from mlflow_ext.store.audit import SqlAudit
from mlflow_ext.store.engine import make_engine
from tests.conftest import wait_until
from tests.integration.promotion.conftest import GATES, GOOD, Stack

POLICY = {"gates": [*GATES["gates"], {"gate": "approval", "people": 2, "four_eyes": True}]}


def say(stack: Stack, person: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a person's name."""
    return subprocess.run(
        [sys.executable, "-m", "mlflow_ext.cli", *arguments],
        env={
            **os.environ,
            "MLFLOW_EXT_DATABASE_URL": stack.database_url,
            "MLFLOW_EXT_MLFLOW_URL": stack.url,
            "MLFLOW_EXT_DATA_DIR": str(stack.directory),
            "MLFLOW_EXT_ACTOR": person,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def watch(stack: Stack, part: str) -> None:
    """Run `promotions --watch` in a terminal until it shows something, and end it as a person does."""
    terminal, inside = pty.openpty()
    os.set_blocking(terminal, False)
    shown: list[bytes] = []

    def has_shown() -> bool:
        with contextlib.suppress(BlockingIOError):
            shown.append(os.read(terminal, 65_536))
        return part.encode() in b"".join(shown)

    with subprocess.Popen(
        [sys.executable, "-m", "mlflow_ext.cli", "promotions", stack.model, "--watch"],
        env={
            **os.environ,
            "MLFLOW_EXT_DATABASE_URL": stack.database_url,
            "MLFLOW_EXT_DATA_DIR": str(stack.directory),
            "TERM": "xterm",
            "COLUMNS": "160",
        },
        stdout=inside,
        stderr=inside,
        # a suite that was started in the background ignores Ctrl-C, and its children with it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as watching:
        os.close(inside)
        try:
            wait_until(has_shown, 60, lambda: b"".join(shown).decode())
            watching.send_signal(signal.SIGINT)
            assert watching.wait(30) == 0
        finally:
            watching.kill()
            os.close(terminal)


def test_two_people_who_are_not_the_author_bring_a_version_to_production(stack: Stack) -> None:
    """Gates, two words on the command line, Production; the author's word is refused, everybody is in the trail."""
    first = stack.register(GOOD)
    author = stack.client.get_run(stack.client.get_model_version(stack.model, str(first)).run_id).info.user_id
    stack.start_worker(POLICY)
    stack.move(first, Stage.STAGING)
    waiting = stack.ended(first)
    assert waiting.state is PromotionState.AWAITING_APPROVAL, waiting.reason
    number = str(waiting.id)
    refused = say(stack, author, "approve", number)
    assert refused.returncode == 1
    assert "somebody else has to approve it" in refused.stderr
    one = say(stack, "eve", "approve", number, "--comment", "numbers are fine")
    assert one.returncode == 0, one.stderr
    assert f"Promotion {number} of {stack.model} version {first}: awaiting_approval" in one.stdout
    assert say(stack, "dan", "approve", number).returncode == 0
    wait_until(lambda: stack.stage(first) is Stage.PRODUCTION, 60, stack.logs)
    assert stack.ended(first).reason == f"version {first} is in Production, approved by eve (numbers are fine), dan"
    tags = stack.client.get_model_version(stack.model, str(first)).tags
    assert tags[APPROVED_TAG] == f"approved by eve (numbers are fine), dan (promotion {number})"
    engine = make_engine(stack.database_url)
    told = {entry.action: entry.actor for entry in SqlAudit(engine).entries(stack.model)}
    engine.dispose()
    assert told["promotion:agreed"].startswith("cli:eve@")
    assert told["promotion:approved"].startswith("cli:dan@")

    story = say(stack, "eve", "explain", number)
    assert story.returncode == 0, story.stderr
    for part in (
        "eve approved it",
        "saying “numbers are fine”",
        "It went to Production",
        f"promotion {number} was opened",
    ):
        assert part in story.stdout
    watch(stack, f"version {first} in Production")

    second = stack.register(GOOD)
    stack.move(second, Stage.STAGING)
    waiting = stack.ended(second)
    rejected = say(stack, "eve", "reject", str(waiting.id), "--comment", "not before the audit")
    assert rejected.returncode == 0, rejected.stderr
    description = stack.client.get_model_version(stack.model, str(second)).description
    assert "not before the audit" in description
    ended = say(stack, "eve", "abort", str(waiting.id))
    assert ended.returncode == 1
    assert "a promotion that is rejected cannot take the step 'abort'" in ended.stderr
    assert stack.stage(first) is Stage.PRODUCTION
