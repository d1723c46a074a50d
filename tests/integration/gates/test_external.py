"""The external gate, real HTTP servers and programs: what is a verdict, what is asked again, and what is not."""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.gate_context import AskedFor
from mlflow_ext.gates import judge
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.testing import MemoryContext, MemoryVersion
from tests.conftest import free_port, wait_until
from tests.integration.hook import Hook, hook

ROWS = pd.DataFrame({"x": [1.0, 2.0], "target": [0, 1]})


@pytest.fixture
def asked_hook() -> Iterator[Hook]:
    """A hook that is content until told otherwise."""
    with hook() as kept:
        yield kept


def judged(**section: Any) -> GateResult:
    """Let an external gate judge."""
    policy = ModelPolicy.model_validate({"gates": [{"gate": "external", **section}]})
    context = MemoryContext(MemoryVersion(3, {"auc": 0.9}), ROWS, asked_for=AskedFor(7, "wine", 3))
    [result] = judge(policy.gates, context)
    return result


def python(code: str) -> list[str]:
    """A command that runs Python code."""
    return [sys.executable, "-c", code]


def test_a_hook_is_asked_and_its_answer_is_the_verdict(asked_hook: Hook, tmp_path: Path) -> None:
    """It gets facts and metrics as JSON, with the token of the file; its numbers and further keys are kept."""
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    body = b'{"verdict": "failed", "reason": "p99 is 12 ms", "measured": 12, "bound": 10, "region": "eu"}'
    asked_hook.answers = [(200, body)]
    result = judged(url=asked_hook.url, token_file=str(secret), name="load")
    assert (result.verdict, result.reason, result.measured, result.bound) == (Verdict.FAILED, "p99 is 12 ms", 12, 10)
    assert (result.name, result.details, result.may_pass) == ("load", {"region": "eu"}, False)
    [question] = asked_hook.asked
    assert (question["promotion"]["id"], question["candidate"]["metrics"]) == (7, {"auc": 0.9})
    assert asked_hook.headers[0]["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("status", "body", "may_pass", "words"),
    [
        (500, b"", True, "answered 500"),
        (503, b'{"verdict": "passed"}', True, "answered 503"),
        (429, b"", True, "answered 429"),
        (404, b"", False, "answered 404"),
        (302, b"", False, "redirects are not followed"),
        (200, b"<html>proxy</html>", True, "did not answer with"),
        (200, b"", True, "did not answer with"),
        (200, b'{"verdict": "yes"}', True, "verdict:"),
        (200, b'{"verdict": "passed", "measured": "NaN"}', True, "measured:"),
        (200, b'{"verdict": "passed", "reason": "' + b"x" * 1_000_001 + b'"}', True, "said more than"),
    ],
)
def test_what_is_no_answer_is_an_error(asked_hook: Hook, status: int, body: bytes, may_pass: bool, words: str) -> None:
    """5xx, 429 and what is no such JSON may pass; other 4xx and redirects do not; none of them is a verdict."""
    asked_hook.answers = [(status, body)]
    result = judged(url=asked_hook.url)
    assert (result.verdict, result.may_pass) == (Verdict.ERROR, may_pass)
    assert words in result.reason
    assert len(asked_hook.asked) == 1


def test_a_hook_that_is_away_or_slow_is_an_error_that_may_pass(asked_hook: Hook) -> None:
    """Refused at once; silent, or a byte at a time: ended by the time for the whole."""
    gone = judged(url=f"http://127.0.0.1:{free_port()}/")
    assert (gone.verdict, gone.may_pass, "does not answer" in gone.reason) == (Verdict.ERROR, True, True)
    released = threading.Event()
    asked_hook.meanwhile = lambda: (released.wait(20), None)[1]
    began = time.monotonic()
    slow = judged(url=asked_hook.url, timeout_s=0.3)
    released.set()
    assert (slow.verdict, slow.may_pass, "longer than 0.3 s" in slow.reason) == (Verdict.ERROR, True, True)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            near, _ = listening.accept()
            with near:
                for byte in b"HTTP/1.1 200 OK\r\n" + b"x" * 1_000:
                    try:
                        near.send(bytes([byte]))
                    except OSError:
                        return
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        dripping = judged(url=f"http://127.0.0.1:{listening.getsockname()[1]}/", timeout_s=0.3)
    assert (dripping.verdict, dripping.may_pass) == (Verdict.ERROR, True)
    assert time.monotonic() - began < 5


def test_a_token_that_is_not_there_is_no_question(asked_hook: Hook, tmp_path: Path) -> None:
    """Nobody is asked without it."""
    result = judged(url=asked_hook.url, token_file=str(tmp_path / "none"))
    assert (result.verdict, result.may_pass, asked_hook.asked) == (Verdict.ERROR, False, [])


def test_a_commands_exit_code_is_the_verdict() -> None:
    """0 is passed and 1 is failed, with the last line as reason; another code is an error that may pass."""
    passed = judged(command=python("print('one'); print('all is well')"))
    assert (passed.verdict, passed.reason) == (Verdict.PASSED, "all is well")
    failed = judged(command=python("import sys; sys.exit('too slow')"))
    assert (failed.verdict, failed.reason, failed.details) == (Verdict.FAILED, "too slow", {"exit_code": 1})
    odd = judged(command=python("import sys; print('no disk', file=sys.stderr); sys.exit(3)"))
    assert (odd.verdict, odd.may_pass) == (Verdict.ERROR, True)
    assert "code 3" in odd.reason
    assert "no disk" in odd.reason


def test_a_command_may_answer_with_json() -> None:
    """It reads the question from standard input; a verdict that is not there is an error."""
    code = (
        "import json, sys; asked = json.load(sys.stdin); auc = asked['candidate']['metrics']['auc'];"
        "print(json.dumps({'verdict': 'inconclusive', 'reason': f'auc {auc}', 'measured': auc}))"
    )
    result = judged(command=python(code), answer="json")
    assert (result.verdict, result.reason, result.measured) == (Verdict.INCONCLUSIVE, "auc 0.9", 0.9)
    silent = judged(command=python("pass"), answer="json")
    assert (silent.verdict, silent.may_pass) == (Verdict.ERROR, True)
    broken = judged(command=python("raise KeyError('x')"), answer="json")
    assert (broken.verdict, broken.may_pass, "code 1" in broken.reason) == (Verdict.ERROR, True, True)


def test_a_command_is_not_read_by_a_shell_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Arguments reach it as they are; when its time is over it is ended with what it started."""
    told = tmp_path / "told"
    code = f"import sys; open({str(told)!r}, 'w').write(repr(sys.argv[1:]))"
    assert judged(command=[*python(code), "$(touch x); *", "a b"]).verdict is Verdict.PASSED
    assert told.read_text() == repr(["$(touch x); *", "a b"])
    pid = tmp_path / "pid"
    child = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    slow = judged(command=python(code), timeout_s=2)
    assert (slow.verdict, slow.may_pass, "longer than 2 s" in slow.reason) == (Verdict.ERROR, True, True)
    number = int(pid.read_text())

    def gone() -> bool:
        return not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE

    wait_until(gone, 5)


def test_programs_that_cannot_answer() -> None:
    """None of that name is final; a signal, or too many words, may pass."""
    none = judged(command=["/no/such/program"])
    assert (none.verdict, none.may_pass, "cannot be run" in none.reason) == (Verdict.ERROR, False, True)
    killed = judged(command=python("import os; os.kill(os.getpid(), 9)"))
    assert (killed.verdict, killed.may_pass, "SIGKILL" in killed.reason) == (Verdict.ERROR, True, True)
    wordy = judged(command=python("print('x' * 1_000_001)"))
    assert (wordy.verdict, wordy.may_pass, "said more" in wordy.reason) == (Verdict.ERROR, True, True)


def test_a_command_sees_its_own_working_environment() -> None:
    """What the evaluation process has, and that has none of our settings."""
    code = "import os, sys; sys.exit(0 if os.environ['PATH'] == sys.argv[1] else 1)"
    assert judged(command=[*python(code), os.environ["PATH"]]).verdict is Verdict.PASSED
