"""How marks are weighed, case by case."""

from dataclasses import dataclass

import pytest

from mlflow_ext.domain.events import RegistryEventKind
from mlflow_ext.domain.marks import changes, weigh
from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.domain.stages import ModelVersion, Stage
from mlflow_ext.testing import MemoryRegistry


def version(number: int, stage: Stage = Stage.NONE, alias: str = "", tag: str = "") -> ModelVersion:
    """A version with at most one alias and the tag."""
    return ModelVersion("wine", number, stage, (alias,) if alias else (), {"stage": tag} if tag else {})


@dataclass(frozen=True)
class Case:
    """Marks without events, and who is in Production."""

    claim: str
    versions: tuple[ModelVersion, ...]
    production: int | None
    pointer: ServingPointer | None = None


AGREED = version(1, Stage.PRODUCTION, "production", "Production")

WITHOUT_EVENTS = [
    Case("nothing is marked", (version(1), version(2)), None),
    Case("the stage alone", (version(1, Stage.PRODUCTION), version(2)), 1),
    Case("the alias alone", (version(1, alias="production"), version(2)), 1),
    Case("the tag alone, whatever its case", (version(1, tag="production"), version(2)), 1),
    Case("all agree", (AGREED, version(2)), 1),
    Case("a newcomer by stage", (AGREED, version(2, Stage.PRODUCTION)), 2),
    Case("a newcomer by tag", (AGREED, version(2, tag="Production")), 2),
    Case(
        "the alias moved on",
        (version(1, Stage.PRODUCTION, tag="Production"), version(2, alias="production")),
        2,
    ),
    Case(
        "the alias moved back to an archived version",
        (version(1, Stage.ARCHIVED, "production", "Archived"), version(2, Stage.PRODUCTION, tag="Production")),
        1,
    ),
    Case("archived by stage", (version(1, Stage.ARCHIVED, "production", "Production"),), None),
    Case("archived by tag", (version(1, Stage.PRODUCTION, "production", "Archived"),), None),
    Case(
        "stage before alias where nobody was served",
        (version(1, Stage.PRODUCTION), version(2, alias="production")),
        1,
    ),
    Case(
        "the alias that differs from what is served",
        (version(1, Stage.PRODUCTION), version(2, alias="production")),
        2,
        ServingPointer("wine", 1, 1),
    ),
    Case(
        "the pointer has followed the alias before the stage did",
        (version(1, Stage.PRODUCTION), version(2, alias="production")),
        2,
        ServingPointer("wine", 2, 2, previous_version=1),
    ),
    Case("MLflow's own answer to two in Production", (version(1, Stage.PRODUCTION), version(2, Stage.PRODUCTION)), 2),
]


@pytest.mark.parametrize("case", WITHOUT_EVENTS, ids=lambda case: case.claim.replace(" ", "-"))
def test_without_events_the_odd_mark_out_counts(case: Case) -> None:
    """Polling alone finds the version that a person put into Production."""
    assert weigh(case.versions, [], case.pointer).production == case.production


def test_with_events_the_last_move_counts() -> None:
    """Whichever mark moved last, of whichever version, decides Production."""
    registry = MemoryRegistry()
    registry.add("wine"), registry.add("wine"), registry.add("wine")

    def production() -> int | None:
        return weigh(registry.versions("wine"), registry.log.latest("wine"), None).production

    registry.set_stage("wine", 1, Stage.PRODUCTION)
    assert production() == 1
    registry.set_alias("wine", "production", 2)
    assert production() == 2
    registry.set_tags("wine", 3, {"stage": "Production"})
    assert production() == 3
    registry.delete_tag("wine", 3, "stage")
    assert production() == 2
    registry.delete_alias("wine", "production")
    assert production() == 1
    registry.set_stage("wine", 1, Stage.ARCHIVED)
    assert production() is None


def test_the_newest_version_in_staging_has_the_alias() -> None:
    """Several versions may be in Staging; the alias names one."""
    registry = MemoryRegistry()
    for _ in range(3):
        registry.add("wine")
    registry.set_stage("wine", 2, Stage.STAGING)
    registry.set_stage("wine", 1, Stage.STAGING)
    standing = weigh(registry.versions("wine"), registry.log.latest("wine"), None)
    assert standing.staging == 2
    assert [(c.version, c.key, c.value) for c in changes(registry.versions("wine"), standing)] == [
        (2, "staging", "2"),
        (2, "stage", "Staging"),
        (1, "stage", "Staging"),
    ]


def test_a_tag_that_is_no_stage_is_the_users_own() -> None:
    """A version in no stage keeps `stage=experimental`, and the word moves nothing."""
    registry = MemoryRegistry()
    registry.add("wine")
    registry.set_tags("wine", 1, {"stage": "experimental"})
    standing = weigh(registry.versions("wine"), registry.log.latest("wine"), None)
    assert standing.stages == {1: Stage.NONE}
    assert changes(registry.versions("wine"), standing) == []


def test_moves_name_their_kind() -> None:
    """An event about the version itself moves no mark."""
    registry = MemoryRegistry()
    registry.add("wine", Stage.PRODUCTION)
    assert registry.log.events[0].kind is RegistryEventKind.VERSION
    assert weigh(registry.versions("wine"), registry.log.events, None).production == 1
