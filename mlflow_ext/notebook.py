"""What notebooks and scripts call: `mlflow_ext.promote`, `mlflow_ext.status`, `mlflow_ext.rollback`.

They find database and MLflow as every command does: environment, `mlflow-ext.yaml`, or the `mlflow-ext up` that runs on
the data directory. How their answers look is in `answers.py`; what they do is in `lifecycle/`.
"""

import time
import uuid
import warnings
from collections.abc import Callable

from mlflow_ext.answers import ModelStatus, PromotionAnswer, RollbackAnswer, StatusAnswer
from mlflow_ext.bootstrap import Services, lifecycle, services
from mlflow_ext.domain.actors import user_name
from mlflow_ext.domain.promotion import Promotion, PromotionState
from mlflow_ext.domain.replicas import Role
from mlflow_ext.domain.stages import Stage
from mlflow_ext.errors import InvalidInputError, NotFoundError
from mlflow_ext.lifecycle.request_promotion import override_promotion, request_promotion
from mlflow_ext.ports import Promotions

_LOOK_S = 0.2
ANSWERED_WITHIN_S = 60.0
"""How long a command waits for scoring processes to answer with what was promoted; they go on without it."""
NO_WORKER = (
    "no promotion worker is alive, so nothing happens until one is: start `mlflow-ext up`, or "
    "`mlflow-ext serve --role promotion` beside your own MLflow; the request is kept"
)


def promote(
    model: str,
    version: int,
    *,
    dry_run: bool = False,
    override_reason: str | None = None,
    wait: bool = True,
    timeout_s: float = 600.0,
) -> PromotionAnswer:
    """Ask for a promotion: the gates judge the version, and when they pass it goes to Production.

    Args:
        model: Registered model.
        version: Its version.
        dry_run: Compute and record the gates, change nothing.
        override_reason: Why the version goes to Production whatever its gates say; recorded with your name.
        wait: Return when it has ended or waits for a person, not at once; after a promotion, when the living scoring
            processes answer with the version.
        timeout_s: Wait at most so many seconds; the promotion itself goes on.

    Raises:
        NotFoundError: There is no such version.
        ConflictError: It is in Production already, or has an open promotion of the other kind.
        InvalidInputError: An override without a reason, or of a dry run.
        UnavailableError: The database does not answer.
    """
    with services(name="mlflow-ext promote") as parts:
        promotion = ask(parts, model, version, source="api", dry_run=dry_run, override_reason=override_reason)
        if not worker_alive(parts):
            warnings.warn(NO_WORKER, RuntimeWarning, stacklevel=2)
        if wait:
            promotion = follow(lifecycle(parts).promotions, promotion.id, timeout_s)
            wait_answered(parts, promotion)
        return PromotionAnswer(promotion)


def status(model: str | None = None) -> StatusAnswer:
    """Say for one model, or for all, what is in Production and how its promotions stand.

    Raises:
        NotFoundError: There is no model of that name with versions.
        UnavailableError: The database does not answer.
    """
    with services(name="mlflow-ext status") as parts:
        found = lifecycle(parts)
        models = [model] if model else found.view.models()
        answers = []
        for name in models:
            versions = found.view.versions(name)
            if not versions:
                raise NotFoundError(f"there is no model '{name}' with versions")
            pointer = found.pointers.get(name)
            answers.append(
                ModelStatus(
                    model=name,
                    production=next((one.version for one in versions if one.stage is Stage.PRODUCTION), None),
                    staging=tuple(one.version for one in versions if one.stage is Stage.STAGING),
                    served=pointer.version if pointer else None,
                    promotions=tuple(found.promotions.find(name, limit=5)),
                )
            )
        return StatusAnswer(tuple(answers), worker_alive=worker_alive(parts))


def rollback(model: str) -> RollbackAnswer:
    """Put the last good version back into Production.

    Raises:
        NotFoundError: There is no such model.
        ConflictError: There is no earlier good version to go back to.
        UnavailableError: MLflow or the database does not answer.
    """
    with services(name="mlflow-ext rollback") as parts:
        found = lifecycle(parts)
        done = found.take_back(model, by=user_name())
        return RollbackAnswer(done.model, done.from_version, done.to_version)


def ask(
    parts: Services,
    model: str,
    version: int,
    *,
    source: str,
    dry_run: bool = False,
    override_reason: str | None = None,
) -> Promotion:
    """Open a promotion, or override its gates, in the name of whoever runs this process."""
    found = lifecycle(parts)
    if override_reason is not None:
        if dry_run:
            raise InvalidInputError("a dry run changes nothing, so there is nothing to override")
        return override_promotion(
            model,
            version,
            found.view,
            found.promotions,
            source=source,
            cause=f"{source}:{uuid.uuid4().hex}",
            requested_by=user_name(),
            reason=override_reason,
        )
    return request_promotion(
        model,
        version,
        found.view,
        found.promotions,
        source=source,
        cause=f"{source}:{uuid.uuid4().hex}",
        requested_by=user_name(),
        dry_run=dry_run,
    )


def follow(
    promotions: Promotions, promotion_id: int, timeout_s: float, tell: Callable[[str], None] = lambda _: None
) -> Promotion:
    """Wait until a promotion has ended or waits for a person; each new line of its story is told."""
    end = time.monotonic() + timeout_s
    told = 0
    while True:
        promotion = promotions.get(promotion_id)
        story = promotions.story(promotion_id)
        for step in story[told:]:
            tell(f"{step['state']}: {step['note']}")
        told = len(story)
        if promotion.is_settled or time.monotonic() > end:
            return promotion
        time.sleep(_LOOK_S)


def wait_answered(parts: Services, promotion: Promotion, timeout_s: float = ANSWERED_WITHIN_S) -> None:
    """Wait until the living scoring processes answer with a promoted version, or cannot, or another one is wanted."""
    from mlflow_ext.store.replicas import Replicas

    if promotion.state is not PromotionState.PROMOTED:
        return
    end = time.monotonic() + timeout_s
    pointers, replicas = lifecycle(parts).pointers, Replicas(parts.engine)
    while time.monotonic() < end:
        pointer = pointers.get(promotion.model)
        if pointer is None or pointer.version != promotion.version:
            return
        states = [one for one in replicas.living(role=Role.SCORING) if one.serves(promotion.model) != promotion.version]
        if all(str(promotion.version) in one.state.get(promotion.model, {}).get("failed", {}) for one in states):
            return
        time.sleep(_LOOK_S)


def worker_alive(parts: Services) -> bool:
    """Tell whether any promotion worker gave a sign of life lately."""
    from mlflow_ext.store.replicas import Replicas

    return bool(Replicas(parts.engine).living(role=Role.PROMOTION))
