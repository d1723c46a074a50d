"""Could somebody make this version again? Commit, parameters, data and environment, as the training run recorded them.

Who writes the tags is in `plugins/run_context.py`; how a project is run once more, in `registry/rerun.py`.
"""

from math import isfinite
from typing import Literal, Self

from pydantic import Field, model_validator

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.domain.run_tags import GIT_COMMIT, GIT_DIRTY, MLFLOW_GIT_COMMIT
from mlflow_ext.gate_context import GateContext, Registered, Rerun
from mlflow_ext.policy import GatePolicy

_SHOWN = 5


class ReproducibilityPolicy(GatePolicy):
    """What the training run must have recorded.

    Attributes:
        gate: `reproducibility`.
        commit: Whether the git commit must be known.
        clean: Whether all changes must have been committed.
        parameters: Parameters that the run must have logged, such as the seed.
        dataset: Whether the run must name its data with a digest (`mlflow.log_input`).
        locked: Whether every package of the model's requirements must have an exact version.
        rerun: Training project (path or git URI) that is run once more, at the commit that the run recorded; `None`
            trains nothing.
        entry_point: Its entry point; it gets `parameters` with the values that the run logged.
        env_manager: As in `mlflow run`.
        metrics: Metrics that the second run must log as the first did.
        tolerance: How far a metric may be off, in its own unit.
        rerun_timeout_s: Seconds after which the second run is ended.
    """

    gate: Literal["reproducibility"] = "reproducibility"
    commit: bool = True
    clean: bool = True
    parameters: tuple[str, ...] = ()
    dataset: bool = True
    locked: bool = True
    rerun: str | None = None
    entry_point: str = "train"
    env_manager: Literal["local", "virtualenv", "uv", "conda"] = "local"
    metrics: tuple[str, ...] = ()
    tolerance: float = Field(default=1e-9, ge=0)
    rerun_timeout_s: float = Field(default=300.0, gt=0)

    @model_validator(mode="after")
    def _knows_what_to_compare(self) -> Self:
        if (self.rerun is None) != (not self.metrics):
            raise ValueError("rerun needs metrics to compare by, and metrics need a project to rerun")
        return self

    @property
    def title(self) -> str:
        """What is asked."""
        words = [word for word in ("commit", "clean", "dataset", "locked") if getattr(self, word)]
        return f"reproducible: {', '.join([*words, *self.parameters]) or 'nothing is asked'}"


class ReproducibilityGate:
    """`gate: reproducibility`."""

    policy = ReproducibilityPolicy

    def judge(self, policy: ReproducibilityPolicy, context: GateContext) -> list[GateResult]:
        """Name everything that is missing, and train again where the policy names a project.

        Raises:
            GateUnavailableError: The second run took too long, or was killed.
            EvaluationImpossibleError: The second run failed.
        """
        registered = context.registered
        file = context.candidate.directory / "requirements.txt"
        requirements = file.read_text(encoding="utf-8") if file.is_file() else None
        missing = gaps(policy, registered, requirements)
        recorded = GateResult(
            gate=policy.gate,
            name=policy.title,
            verdict=Verdict.FAILED if missing else Verdict.PASSED,
            reason="; ".join(missing) or f"run {registered.run_id} recorded all that is needed to make it again",
            measured=len(missing),
            bound=0,
            details={
                "missing": missing,
                "commit": commit_of(registered),
                "datasets": [dict(one) for one in registered.datasets],
                "parameters": dict(registered.run_params),
            },
        )
        return [recorded] if policy.rerun is None else [recorded, _again(policy, policy.rerun, context)]


gate = ReproducibilityGate()


def _again(policy: ReproducibilityPolicy, project: str, context: GateContext) -> GateResult:
    registered = context.registered
    name = f"trained again: {', '.join(policy.metrics)} within {policy.tolerance:g}"
    absent = [one for one in policy.parameters if one not in registered.run_params]
    unknown = [one for one in policy.metrics if one not in registered.run_metrics]
    if registered.run_id is None or absent or unknown:
        reason = f"its run logged no {', '.join([*absent, *unknown]) or 'metrics'}, so there is nothing to compare with"
        return GateResult(policy.gate, name, Verdict.FAILED, reason)
    asked = Rerun(project, policy.entry_point, policy.parameters, policy.env_manager, policy.rerun_timeout_s)
    parameters = {one: registered.run_params[one] for one in policy.parameters}
    found = context.rerun(asked, parameters, commit_of(registered))
    off = {one: abs(found.get(one, float("inf")) - registered.run_metrics[one]) for one in policy.metrics}
    worst = max(off, key=lambda one: off[one] if isfinite(off[one]) else float("inf"))
    same = all(difference <= policy.tolerance for difference in off.values())
    gave = f"gave {found[worst]:.6g}" if worst in found else "logged none"
    return GateResult(
        gate=policy.gate,
        name=name,
        verdict=Verdict.PASSED if same else Verdict.FAILED,
        reason=(
            f"the second run {gave} for {worst} where the first gave {registered.run_metrics[worst]:.6g}, "
            f"{'within' if same else 'beyond'} the {policy.tolerance:g} that is allowed"
        ),
        measured=off[worst],
        bound=policy.tolerance,
        details={"first": {one: registered.run_metrics[one] for one in policy.metrics}, "second": dict(found)},
    )


def commit_of(registered: Registered) -> str | None:
    """Give the commit of the training code, as far as the run knows it."""
    return registered.run_tags.get(GIT_COMMIT) or registered.run_tags.get(MLFLOW_GIT_COMMIT) or None


def gaps(policy: ReproducibilityPolicy, registered: Registered, requirements: str | None) -> list[str]:
    """Say what is missing, one phrase each.

    Args:
        policy: What is asked.
        registered: What MLflow knows of the version and its run.
        requirements: The model's `requirements.txt`; `None` where it has none.
    """
    if registered.run_id is None:
        return ["it was not logged by an MLflow run, so nothing is known of how it was made"]
    found = []
    if policy.commit and commit_of(registered) is None:
        found.append("the git commit of the training code is not known; train from a git repository")
    dirty = registered.run_tags.get(GIT_DIRTY)
    if policy.clean and dirty == "true":
        found.append("the training code had changes that were not committed")
    elif policy.clean and dirty is None and commit_of(registered) is not None:
        found.append("it is not known whether all changes were committed; train where mlflow-ext is installed")
    absent = [name for name in policy.parameters if name not in registered.run_params]
    if absent:
        found.append(f"the run logged no parameter {', '.join(absent)}")
    if policy.dataset and not any(one.get("digest") for one in registered.datasets):
        found.append("the run names no dataset with a digest; log it with mlflow.log_input")
    if policy.locked:
        found += _unlocked(requirements)
    return found


def _unlocked(requirements: str | None) -> list[str]:
    if requirements is None:
        return ["the model has no requirements.txt"]
    lines = [line.split("#")[0].strip() for line in requirements.splitlines()]
    # options (`-c constraints.txt`, `--index-url …`) are no packages; `==1.*` is no exact version
    packages = [line for line in lines if line and not line.startswith("-")]
    loose = [line for line in packages if " @ " not in line and ("==" not in line or line.endswith("*"))]
    if not loose:
        return []
    more = f" and {len(loose) - _SHOWN} more" if len(loose) > _SHOWN else ""
    return [f"requirements without an exact version: {', '.join(loose[:_SHOWN])}{more}"]
