"""Stages of a model version and the marks that say so. What moves a version lives in `lifecycle/`."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

STAGE_TAG = "stage"


class Stage(StrEnum):
    """MLflow's four stages, spelled as MLflow spells them."""

    NONE = "None"
    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"

    @classmethod
    def parse(cls, text: str | None) -> "Stage | None":
        """Read a stage whatever its case; `None` for a word that is no stage."""
        folded = (text or "").strip().casefold()
        return next((stage for stage in cls if stage.value.casefold() == folded), None)


class Mark(StrEnum):
    """What says that a version is in a stage. All three are first class and brought into agreement."""

    STAGE = "stage"
    ALIAS = "alias"
    TAG = "tag"


STAGE_OF_ALIAS = {"production": Stage.PRODUCTION, "staging": Stage.STAGING}
"""The aliases that are marks. Any other alias is the users' own."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a registered model, with every mark it carries.

    Attributes:
        model: Name of the registered model.
        version: Version number, from 1.
        stage: MLflow's stage field.
        aliases: All aliases that point at the version.
        tags: Version tags.
        run_id: MLflow run that logged the model, if it was logged by one.
        source: Where the artifacts are (`models:/m-…`, `runs:/…`, a path or URI).
        description: Markdown shown in the registry UI.
        updated_at: When MLflow last changed the version's row.
        workspace: MLflow workspace; `default` where workspaces are off.
    """

    model: str
    version: int
    stage: Stage = Stage.NONE
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    run_id: str | None = None
    source: str | None = None
    description: str = ""
    updated_at: datetime | None = None
    workspace: str = "default"

    def stage_by(self, mark: Mark) -> Stage | None:
        """Say which stage one kind of mark gives the version; `None` where that mark says nothing."""
        if mark is Mark.STAGE:
            return None if self.stage is Stage.NONE else self.stage
        if mark is Mark.TAG:
            return Stage.parse(self.tags.get(STAGE_TAG))
        stages = {STAGE_OF_ALIAS[alias] for alias in self.aliases if alias in STAGE_OF_ALIAS}
        return Stage.PRODUCTION if Stage.PRODUCTION in stages else next(iter(stages), None)


def in_production(versions: Iterable[ModelVersion]) -> ModelVersion | None:
    """Give the version in stage Production among those of one model."""
    return next((one for one in versions if one.stage is Stage.PRODUCTION), None)
