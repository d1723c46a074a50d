"""Every model's state in one look: what is served, what waits, who has caught up, and what the last drift check said.

Whether the parts are well is asked in `health.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from mlflow_ext.domain.drift import CheckKind
from mlflow_ext.domain.replicas import Replica, Role
from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.domain.stages import Mark, ModelVersion, Stage
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.pointers import SqlPointers
from mlflow_ext.store.promotions import SqlPromotions
from mlflow_ext.store.registry_view import SqlRegistryView
from mlflow_ext.store.replicas import Replicas


@dataclass(frozen=True, slots=True)
class ModelState:
    """One registered model.

    Attributes:
        model: Its name.
        production: Version that the serving pointer names; `None` when nothing is in Production.
        marked_production: Version that MLflow's stage names; differs from `production` for moments only.
        generation: How often the pointer was moved; 0 for a model that never was in Production.
        staging: Versions in Staging, by stage, alias or tag, newest first.
        promotion: Open promotion as `version: state`, or the last one's end.
        promotion_open: Whether that promotion is open.
        replicas: Number of living scoring processes.
        converged: Number of those that serve the pointer's version.
        drift: Verdict of the last drift check that has one.
        drift_at: End of its window, ISO 8601.
    """

    model: str
    production: int | None
    marked_production: int | None
    generation: int
    staging: tuple[int, ...]
    promotion: str | None
    promotion_open: bool
    replicas: int
    converged: int
    drift: str | None
    drift_at: str | None


def models(engine: Engine) -> list[ModelState]:
    """Read the state of every registered model.

    Raises:
        UnavailableError: The database does not answer, or lacks tables (`mlflow-ext db upgrade`).
    """
    view = SqlRegistryView(engine)
    pointers = {pointer.model: pointer for pointer in SqlPointers(engine).all()}
    scoring = Replicas(engine).living(role=Role.SCORING)
    return [_state(engine, name, view.versions(name), pointers.get(name), scoring) for name in view.models()]


def _state(
    engine: Engine,
    model: str,
    versions: Sequence[ModelVersion],
    pointer: ServingPointer | None,
    scoring: Sequence[Replica],
) -> ModelState:
    promotion = next(iter(SqlPromotions(engine).find(model, limit=1)), None)
    check = next(
        (check for check in Checks(engine).history(model, limit=20, kind=CheckKind.DATA) if check.report is not None),
        None,
    )
    return ModelState(
        model=model,
        production=pointer.version if pointer else None,
        marked_production=next((v.version for v in versions if v.stage is Stage.PRODUCTION), None),
        generation=pointer.generation if pointer else 0,
        staging=tuple(v.version for v in versions if Stage.STAGING in {v.stage_by(mark) for mark in Mark}),
        promotion=f"{promotion.version}: {promotion.state}" if promotion else None,
        promotion_open=bool(promotion and promotion.state.is_open),
        replicas=len(scoring),
        converged=sum(replica.serves(model) == (pointer.version if pointer else None) for replica in scoring),
        drift=check.report.verdict.value if check and check.report else None,
        drift_at=check.window.until.isoformat() if check else None,
    )
