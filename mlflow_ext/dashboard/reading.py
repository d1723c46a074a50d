"""What the lifecycle page shows, read from MLflow's and our tables; read only.

A part that cannot be read (tables missing, database away) becomes a problem in words, and the rest is shown.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Engine

from mlflow_ext.domain.drift import CheckKind, DriftCheck
from mlflow_ext.domain.promotion import Promotion
from mlflow_ext.domain.replicas import Replica, Role
from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.domain.stages import Mark, ModelVersion, Stage
from mlflow_ext.errors import UnavailableError
from mlflow_ext.store import schema
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.engine import reading
from mlflow_ext.store.pointers import SqlPointers
from mlflow_ext.store.promotions import SqlPromotions
from mlflow_ext.store.registry_view import SqlRegistryView
from mlflow_ext.store.replicas import Replicas
from mlflow_ext.store.triggers import triggers_installed

MOST_MODELS = 100
_PROMOTIONS = 5
_CHECKS = 30
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ModelPage:
    """One registered model.

    Attributes:
        model: Its name.
        versions: Number of versions.
        production: Version in Production by the marks, stage first.
        served: Version that the serving pointer names.
        since: When the pointer was moved there.
        staging: Versions in Staging by any mark, newest first.
        serving: Number of living scoring processes that answer with the pointer's version.
        promotions: The last ones, newest first.
        checks: The last drift checks, oldest window first.
    """

    model: str
    versions: int
    production: int | None
    served: int | None
    since: datetime | None
    staging: tuple[int, ...]
    serving: int
    promotions: tuple[Promotion, ...]
    checks: tuple[DriftCheck, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything on the page.

    Attributes:
        at: When it was read.
        models: In alphabetical order, at most `MOST_MODELS`.
        hidden: Number of further models.
        roles: Number of living processes by role.
        triggers_installed: Whether registry changes are announced at once; `None` when that is not known.
        problems: What could not be read, and what to do.
    """

    at: datetime
    models: tuple[ModelPage, ...] = ()
    hidden: int = 0
    roles: dict[str, int] = field(default_factory=dict)
    triggers_installed: bool | None = None
    problems: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form, times as ISO 8601; promotions and checks without their full reports."""
        return {**asdict(self), "at": self.at.isoformat(), "models": [_document(model) for model in self.models]}


def read(engine: Engine, model: str | None = None) -> Picture:
    """Look at everything, or at one model."""
    problems: list[str] = []

    def part(look: Callable[[], _T]) -> _T | None:
        try:
            return look()
        except UnavailableError as exc:
            problems.append(str(exc))
            return None

    problems += part(partial(state_of_schema, engine)) or []
    view = SqlRegistryView(engine)
    names = [name for name in part(view.models) or [] if model in (None, name)]
    pointers = {pointer.model: pointer for pointer in part(SqlPointers(engine).all) or []}
    replicas = part(Replicas(engine).living) or []
    return Picture(
        at=datetime.now(UTC),
        models=tuple(
            _page(
                name,
                part(partial(view.versions, name)) or [],
                pointers.get(name),
                replicas,
                part(partial(SqlPromotions(engine).find, name, limit=_PROMOTIONS)) or [],
                part(partial(Checks(engine).history, name, _CHECKS, kind=CheckKind.DATA)) or [],
            )
            for name in names[:MOST_MODELS]
        ),
        hidden=max(0, len(names) - MOST_MODELS),
        roles={role.value: sum(replica.role is role for replica in replicas) for role in Role},
        triggers_installed=part(partial(_triggers, engine)),
        problems=tuple(dict.fromkeys(problems)),
    )


def state_of_schema(engine: Engine) -> list[str]:
    """Say what is wrong with our tables, in words; empty when all is well."""
    found, needed = schema.current(engine), schema.head()
    if found == needed:
        return []
    state = "are missing" if found is None else f"are at revision {found}, this version needs {needed}"
    return [f"the tables of mlflow-ext {state}: run `mlflow-ext db upgrade`"]


def _triggers(engine: Engine) -> bool | None:
    with reading(engine) as connection:
        return triggers_installed(connection)


def _page(
    name: str,
    versions: list[ModelVersion],
    pointer: ServingPointer | None,
    replicas: list[Replica],
    promotions: list[Promotion],
    checks: list[DriftCheck],
) -> ModelPage:
    served = pointer.version if pointer else None
    return ModelPage(
        model=name,
        versions=len(versions),
        production=_first(versions, Stage.PRODUCTION),
        served=served,
        since=pointer.moved_at if pointer and served is not None else None,
        staging=tuple(v.version for v in versions if Stage.STAGING in {v.stage_by(mark) for mark in Mark}),
        serving=sum(served is not None and replica.serves(name) == served for replica in replicas),
        promotions=tuple(promotions),
        checks=tuple(sorted(checks, key=lambda check: check.window.until)),
    )


def _first(versions: list[ModelVersion], stage: Stage) -> int | None:
    named = ((mark, version) for mark in Mark for version in versions)
    return next((version.version for mark, version in named if version.stage_by(mark) is stage), None)


def _document(page: ModelPage) -> dict[str, Any]:
    return {
        **{name: getattr(page, name) for name in ("model", "versions", "production", "served", "staging", "serving")},
        "since": page.since.isoformat() if page.since else None,
        "promotions": [
            {
                **{name: getattr(one, name) for name in ("id", "version", "source", "dry_run", "reason", "run_id")},
                "state": one.state.value,
                "gates": (one.report or {}).get("results", []),
                "updated_at": one.updated_at.isoformat() if one.updated_at else None,
            }
            for one in page.promotions
        ],
        "drift": [
            {
                "version": check.report.version if check.report else check.version,
                "verdict": check.report.verdict.value if check.report else None,
                "reason": check.report.reason if check.report else check.error,
                "since": check.window.since.isoformat(),
                "until": check.window.until.isoformat(),
                "run_id": check.run_id,
            }
            for check in page.checks
        ],
    }
