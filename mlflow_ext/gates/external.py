"""What does somebody else's check say? An HTTP hook or a command is given the promotion's facts and metrics as JSON.

The wire is here: how a hook is asked, and what counts as an answer. How often a hook that does not answer is asked
again is the promotion's business (`lifecycle/promote.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.errors import EvaluationImpossibleError, GateUnavailableError, MissingEvidenceError
from mlflow_ext.gate_context import GateContext
from mlflow_ext.gates.asking.command import run_command
from mlflow_ext.gates.asking.http import post
from mlflow_ext.policy import GatePolicy

FORMAT = 1
"""Of the question; raised when a key changes its meaning or goes."""
_BY_CODE = {0: Verdict.PASSED, 1: Verdict.FAILED}
_LONGEST_REASON = 500


class ExternalPolicy(GatePolicy):
    """Whom to ask, and how long to wait.

    Attributes:
        gate: `external`.
        name: What people are shown; the host or the program where it is empty.
        url: Address that takes the question as a POST.
        command: Program and arguments, run without a shell; it gets the question on standard input.
        answer: Where the verdict is: `json` (body, or standard output) or `exit_code`. Default: `json` for a URL,
            `exit_code` for a command.
        timeout_s: Seconds for the whole question and answer.
        token_file: File whose content is sent as `Authorization: Bearer …`; read anew each time.
    """

    gate: Literal["external"] = "external"
    name: str = Field(default="", max_length=100)
    url: str | None = None
    command: tuple[str, ...] | None = None
    answer: Literal["json", "exit_code"] | None = None
    timeout_s: float = Field(default=30.0, gt=0, le=3_600)
    token_file: str | None = None

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "https://host")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an http:// or https:// address")
        if parts.username is not None or parts.password is not None:
            raise ValueError("policies are kept and shown, so no password in it; write it to a file, token_file")
        return url

    @model_validator(mode="after")
    def _asks_one(self) -> "ExternalPolicy":
        if (self.url is None) == (not self.command):
            raise ValueError("an external gate needs url or command, and not both")
        if self.url is not None and self.answer == "exit_code":
            raise ValueError("a url has no exit code; it answers with JSON")
        if self.url is None and self.token_file is not None:
            raise ValueError("token_file is for a url")
        return self

    @property
    def title(self) -> str:
        """Who is asked."""
        return self.name or (urlsplit(self.url).hostname or "" if self.url else Path((self.command or ("",))[0]).name)


class Answer(BaseModel):
    """What a hook answers; other keys are kept among the details.

    Attributes:
        verdict: `passed`, `failed` or `inconclusive`.
        reason: One sentence for people.
        measured: Its number, where it has one.
        bound: What the number had to reach.
        sample_size: How many rows, requests … it judged by.
    """

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    verdict: Literal["passed", "failed", "inconclusive"]
    reason: str = ""
    measured: float | None = None
    bound: float | None = None
    sample_size: int | None = None


@dataclass(frozen=True, slots=True)
class ExternalGate:
    """`gate: external`."""

    policy: type[ExternalPolicy] = ExternalPolicy

    def judge(self, policy: ExternalPolicy, context: GateContext) -> GateResult:
        """Ask, and take the answer for a verdict.

        Raises:
            GateUnavailableError: No answer, or none that can be read: it may be another time.
            EvaluationImpossibleError: The hook refuses the question, or there is no such program.
        """
        asked = json.dumps(question(context), ensure_ascii=False, allow_nan=False).encode()
        if policy.url is not None:
            text = post(policy.url, asked, timeout_s=policy.timeout_s, token=_token(policy))
            return _by_json(policy, text)
        code, text, said = run_command(policy.command or (), asked, timeout_s=policy.timeout_s)
        if policy.answer == "json":
            if code != 0:
                raise GateUnavailableError(f"{policy.title} ended with code {code}{_quoted(said)}")
            return _by_json(policy, text)
        if code not in _BY_CODE:
            raise GateUnavailableError(
                f"{policy.title} ended with code {code}, which is neither 0 (passed) nor 1 (failed){_quoted(said)}"
            )
        reason = _last_line(text) or _last_line(said) or f"{policy.title} ended with code {code}"
        return GateResult(
            policy.gate, policy.title, _BY_CODE[code], reason[:_LONGEST_REASON], details={"exit_code": code}
        )


gate = ExternalGate()


def question(context: GateContext) -> dict[str, Any]:
    """Give what a hook is told, ready for JSON; numbers that are not finite are left out."""
    return {
        "format": FORMAT,
        "promotion": _or_none(lambda: asdict(context.promotion)),
        "candidate": {"version": context.candidate.version, "metrics": _finite(context.candidate.metrics)},
        "champion": _champion(context),
        "evaluation": {"rows": len(context.rows), "target": context.target, "model_type": context.model_type},
        "registered": _or_none(lambda: _registered(context)),
    }


def _champion(context: GateContext) -> dict[str, Any] | None:
    try:
        champion = context.champion
    except EvaluationImpossibleError as exc:
        return {"version": None, "metrics": {}, "error": str(exc)}
    return None if champion is None else {"version": champion.version, "metrics": _finite(champion.metrics)}


def _registered(context: GateContext) -> dict[str, Any]:
    found = context.registered
    return {
        "description": found.description,
        "model_description": found.model_description,
        "tags": dict(found.tags),
        "model_tags": dict(found.model_tags),
        "run_id": found.run_id,
        "run_tags": dict(found.run_tags),
        "run_params": dict(found.run_params),
        "datasets": [dict(one) for one in found.datasets],
    }


def _or_none(read: Any) -> Any:
    try:
        return read()
    except MissingEvidenceError:
        return None


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    from math import isfinite

    return {name: float(value) for name, value in metrics.items() if isfinite(value)}


def _by_json(policy: ExternalPolicy, text: bytes) -> GateResult:
    try:
        answer = Answer.model_validate_json(text)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise GateUnavailableError(
            f'{policy.title} did not answer with {{"verdict": "passed|failed|inconclusive", "reason": "…"}}: '
            f"{where + ': ' if where else ''}{first['msg']}{_quoted(text)}"
        ) from exc
    return GateResult(
        gate=policy.gate,
        name=policy.title,
        verdict=Verdict(answer.verdict),
        reason=answer.reason[:_LONGEST_REASON] or f"{policy.title} says {answer.verdict}",
        measured=answer.measured,
        bound=answer.bound,
        sample_size=answer.sample_size,
        details=dict(answer.model_extra or {}),
    )


def _token(policy: ExternalPolicy) -> str | None:
    if policy.token_file is None:
        return None
    try:
        return Path(policy.token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise EvaluationImpossibleError(f"token_file of the gate {policy.title} cannot be read: {exc}") from exc


def _quoted(text: bytes) -> str:
    line = _last_line(text)
    return f": {line[:200]!r}" if line else ""


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
