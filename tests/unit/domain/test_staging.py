"""When a mark opens a promotion, and when a person's hand ends one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mlflow_ext.domain.events import RegistryEvent, RegistryEventKind
from mlflow_ext.domain.promotion import Promotion, PromotionState
from mlflow_ext.domain.stages import ModelVersion, Stage
from mlflow_ext.domain.staging import opening_cause, outranked, overtaken

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
STAGED = ModelVersion("wine", 3, stage=Stage.STAGING, updated_at=NOON)
ENDED = Promotion(1, "wine", 3, PromotionState.REJECTED, "registry", created_at=NOON + timedelta(seconds=1))
OPEN = replace(ENDED, state=PromotionState.EVALUATING)


def moved(event_id: int, new: Stage, *, minutes: int = 0, version: int = 3, old: str = "None") -> RegistryEvent:
    """A change of the stage field."""
    at = NOON + timedelta(minutes=minutes)
    return RegistryEvent(event_id, at, "wine", version, RegistryEventKind.STAGE, "", old, new.value)


def tagged(event_id: int, *, minutes: int) -> RegistryEvent:
    """A change of the tag that repeats the stage, as agreement writes it."""
    at = NOON + timedelta(minutes=minutes)
    return RegistryEvent(event_id, at, "wine", 3, RegistryEventKind.TAG, "stage", None, "Staging")


def test_a_version_marked_staging_opens_a_promotion_named_after_the_event() -> None:
    """The newest stage event is the cause; it is the same however often one looks."""
    events = [tagged(9, minutes=1), moved(8, Stage.PRODUCTION, version=2), moved(7, Stage.STAGING)]
    assert opening_cause(STAGED, events, None) == "event:7"
    assert opening_cause(STAGED, events[2:], None) == "event:7"


def test_our_own_agreement_writes_do_not_open_a_second_promotion() -> None:
    """After a rejection the version stays in Staging; alias and tag events that follow open nothing."""
    assert opening_cause(STAGED, [tagged(9, minutes=5), moved(7, Stage.STAGING)], ENDED) is None


def test_out_and_into_staging_again_opens_a_new_one() -> None:
    """A person may ask once more by moving a rejected version to None and back."""
    events = [
        moved(12, Stage.STAGING, minutes=3),
        moved(11, Stage.NONE, minutes=2, old="Staging"),
        moved(7, Stage.STAGING),
    ]
    assert opening_cause(STAGED, events, ENDED) == "event:12"


def test_the_order_of_events_counts_and_no_clock() -> None:
    """A mark that came later opens and outranks though its clock says yesterday; an earlier one never does."""
    day = 24 * 60
    knows = replace(ENDED, seen_event=7)
    assert opening_cause(STAGED, [moved(12, Stage.STAGING, minutes=-day)], knows) == "event:12"
    assert opening_cause(STAGED, [moved(7, Stage.STAGING, minutes=day)], knows) is None
    away = replace(STAGED, stage=Stage.ARCHIVED)
    asked = replace(OPEN, source="cli", seen_event=7)
    assert overtaken(asked, away, [moved(12, Stage.ARCHIVED, minutes=-day)]) is not None
    assert overtaken(asked, away, [moved(7, Stage.ARCHIVED, minutes=day)]) is None


@pytest.mark.parametrize("stage", [Stage.NONE, Stage.PRODUCTION, Stage.ARCHIVED])
def test_no_other_stage_opens_one(stage: Stage) -> None:
    """Only Staging asks for a promotion."""
    assert opening_cause(replace(STAGED, stage=stage), [moved(7, Stage.STAGING)], None) is None


def test_an_open_promotion_is_enough() -> None:
    """While one is open, another mark waits."""
    assert opening_cause(STAGED, [moved(12, Stage.STAGING, minutes=9)], OPEN) is None


def test_without_triggers_mlflows_own_time_tells_a_new_mark() -> None:
    """Polling opens one promotion, and another only when MLflow dates a change after the last one's end."""
    assert opening_cause(STAGED, [], None) == f"seen:{NOON.isoformat()}"
    ended = replace(ENDED, registry_at=NOON)
    assert opening_cause(STAGED, [], ended) is None
    later = NOON + timedelta(minutes=5)
    assert opening_cause(replace(STAGED, updated_at=later), [], ended) == f"seen:{later.isoformat()}"
    assert opening_cause(replace(STAGED, updated_at=later), [], replace(ended, registry_at=None)) is None


@pytest.mark.parametrize(
    "state", [PromotionState.REQUESTED, PromotionState.EVALUATING, PromotionState.AWAITING_APPROVAL]
)
def test_production_by_hand_outranks_an_open_promotion(state: PromotionState) -> None:
    """Whoever moved it to Production meanwhile has decided."""
    reason = overtaken(replace(OPEN, state=state), replace(STAGED, stage=Stage.PRODUCTION), [])
    assert reason == "version 3 was moved to Production by hand"


def test_our_own_flip_does_not_supersede() -> None:
    """While it rolls out, Production is what the promotion wrote itself."""
    rolling = replace(OPEN, state=PromotionState.ROLLING_OUT)
    assert overtaken(rolling, replace(STAGED, stage=Stage.PRODUCTION), []) is None


@pytest.mark.parametrize("stage", [Stage.NONE, Stage.ARCHIVED])
def test_leaving_staging_ends_a_promotion_that_staging_opened(stage: Stage) -> None:
    """With or without events, a version that left Staging is no candidate."""
    assert "from Staging" in (overtaken(OPEN, replace(STAGED, stage=stage), []) or "")


def test_a_promotion_asked_for_by_command_needs_no_staging_but_minds_a_later_move() -> None:
    """A version that never was in Staging may be promoted; archiving it afterwards outranks that."""
    asked = replace(OPEN, source="cli")
    assert overtaken(asked, replace(STAGED, stage=Stage.NONE), []) is None
    archived = replace(STAGED, stage=Stage.ARCHIVED)
    assert overtaken(asked, archived, [moved(5, Stage.ARCHIVED, minutes=-9)]) is None
    assert "Archived by hand" in (overtaken(asked, archived, [moved(9, Stage.ARCHIVED, minutes=9)]) or "")


def test_a_deleted_version_ends_its_promotion_and_a_dry_run_minds_nothing_else() -> None:
    """Nothing is left to promote; a dry run changes nothing, so no move outranks it."""
    assert "deleted" in (overtaken(OPEN, None, []) or "")
    assert overtaken(replace(OPEN, dry_run=True), replace(STAGED, stage=Stage.PRODUCTION), []) is None
    assert overtaken(OPEN, STAGED, []) is None


ROLLING = replace(OPEN, state=PromotionState.ROLLING_OUT, champion_version=1)
PRODUCTION = Stage.PRODUCTION


def standing(*production: int) -> list[ModelVersion]:
    """Versions 1 to 4 of the model, some of them in Production."""
    stages = [PRODUCTION if number in production else Stage.NONE for number in range(1, 5)]
    return [ModelVersion("wine", number, stage=stage) for number, stage in enumerate(stages, 1)]


def test_who_came_to_production_after_the_verdict_outranks_it() -> None:
    """Another version than the champion; not the champion, not the candidate, not one that has left again."""
    for version, outranks in ((4, 4), (1, None), (3, None)):
        assert outranked(ROLLING, standing(version), [moved(9, PRODUCTION, version=version)]) == outranks
    assert outranked(ROLLING, standing(), [moved(9, PRODUCTION, version=4)]) is None
    assert outranked(replace(ROLLING, champion_version=None), standing(1), [moved(9, PRODUCTION, version=1)]) == 1


def test_the_last_to_come_counts_by_whichever_mark() -> None:
    """An alias or tag that no stage follows yet; what agreement writes is nobody's word; without events, the stage."""
    came = moved(5, PRODUCTION, version=1)
    alias = RegistryEvent(9, NOON, "wine", 4, RegistryEventKind.ALIAS, "production", "1", "4")
    aliased = [replace(one, aliases=("production",)) if one.version == 4 else one for one in standing(1)]
    assert outranked(ROLLING, aliased, [alias, came]) == 4
    assert outranked(ROLLING, aliased, [replace(alias, ours=True), came]) is None
    assert outranked(ROLLING, aliased, [replace(came, id=10), alias]) is None
    tag = RegistryEvent(9, NOON, "wine", 4, RegistryEventKind.TAG, "stage", None, "production")
    noted = [replace(one, tags={"stage": "production"}) if one.version == 4 else one for one in standing(1)]
    assert outranked(ROLLING, noted, [tag, came]) == 4
    assert outranked(ROLLING, noted, [replace(tag, key="note"), came]) is None
    assert outranked(ROLLING, standing(4), []) == 4
    assert outranked(ROLLING, standing(1), []) is None
