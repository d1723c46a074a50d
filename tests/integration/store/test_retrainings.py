"""Occasions are decided once, under the policy's brakes; holds outlive the process that made them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from mlflow_ext.domain.retraining import HoldKind, RetrainingState, Trigger
from mlflow_ext.errors import ConflictError, NotFoundError
from mlflow_ext.policy import AlertPolicy
from mlflow_ext.retraining_policy import RetrainingPolicy
from mlflow_ext.store.alerts import Alerts
from mlflow_ext.store.retraining_triggers import Occasion, RetrainingTriggers
from mlflow_ext.store.retrainings import Retrainings

POLICY = RetrainingPolicy(project="here", cooldown_s=60.0, halt_after=2)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def occasion(number: int, model: str = "m", trigger: Trigger = Trigger.DRIFT) -> Occasion:
    """Make an occasion."""
    return Occasion(model, trigger, f"check {number}", f"check {number} says drift", NOON, NOON + timedelta(hours=1))


def decide(engine: Engine, number: int, trigger: Trigger = Trigger.DRIFT, *, again: bool = False) -> str | None:
    """Decide an occasion and say what came of it; `None` when that is nothing new."""
    decided = RetrainingTriggers(engine).decide(occasion(number, trigger=trigger), POLICY.limits, again=again)
    return None if decided is None else str(decided)


def finish(engine: Engine, *, minutes_ago: float = 0) -> None:
    """Let the open retraining end well, some time ago."""
    retrainings = Retrainings(engine, owner="me")
    one = retrainings.claim()
    assert one is not None
    assert retrainings.done(one, "run", 2)
    with engine.begin() as connection:
        back = f"- interval '{minutes_ago} minutes'"
        connection.execute(
            text(f"UPDATE mlflow_ext.retraining SET finished_at = finished_at {back}, created_at = created_at {back}")
        )


def test_one_opens_and_others_wait_for_it_and_the_cooldown(engine: Engine) -> None:
    """Opened; refused while it is open and while it cools down; opened again afterwards. Every reason is kept."""
    said = [decide(engine, 1), decide(engine, 2)]
    finish(engine)
    said.append(decide(engine, 3))
    with engine.begin() as connection:
        connection.execute(text("UPDATE mlflow_ext.retraining SET finished_at = finished_at - interval '2 minutes'"))
    said.append(decide(engine, 4))
    assert [str(one).split(" until")[0].rstrip("0123456789") for one in said] == [
        "opened retraining ",
        "none: retraining 1 is open",
        "none: cooling down",
        "opened retraining ",
    ]
    assert [str(one) for one in reversed(RetrainingTriggers(engine).decisions("m"))] == said
    assert [found.state for found in Retrainings(engine).find("m")] == [RetrainingState.DUE, RetrainingState.DONE]


def test_an_occasion_is_decided_once_however_many_look(engine: Engine) -> None:
    """Twenty schedulers see the same check at once: one retraining, one decision."""
    with ThreadPoolExecutor(20) as schedulers:
        said = list(schedulers.map(lambda _: decide(engine, 1), range(20)))
    assert [one for one in said if one is not None] == ["opened retraining 1"]
    assert len(RetrainingTriggers(engine).decisions()) == 1


def test_a_refusal_that_is_looked_at_again(engine: Engine) -> None:
    """New rows that came at a bad time open a retraining later; the refusal is noted once for each brake."""
    decide(engine, 1)
    assert [decide(engine, 9, Trigger.ROWS, again=True) for _ in range(3)] == ["none: retraining 1 is open", None, None]
    finish(engine, minutes_ago=5)
    assert decide(engine, 9, Trigger.ROWS, again=True) == "opened retraining 2"
    assert decide(engine, 9, Trigger.ROWS, again=True) is None


def test_a_world_that_does_not_settle_is_halted_until_a_person_resumes(engine: Engine) -> None:
    """After two circles retraining is held with the reason; other drift is refused; a person's word lets it go on."""
    triggers = RetrainingTriggers(engine)
    for number in (1, 2):
        assert str(decide(engine, number)).startswith("opened"), number
        finish(engine, minutes_ago=5)
    assert "did not settle after 2 retrainings" in str(decide(engine, 3))
    held = triggers.holds()["m"]
    assert (held.kind, held.actor) == (HoldKind.FLAPPING, "the drift scheduler")
    assert str(decide(engine, 4)).startswith("none: held by the drift scheduler")
    assert triggers.resume("m", "ann").kind is HoldKind.FLAPPING
    assert str(decide(engine, 5)).startswith("opened")


def alerts_of(engine: Engine, number: int = 3) -> list[tuple[str, str, int]]:
    """Give kind, state and how often it was seen of every alert of the model."""
    return [(one.kind, one.state.value, one.seen) for one in Alerts(engine).find("m", number)]


def test_a_halt_is_alerted_once_and_is_over_when_retraining_goes_on(engine: Engine) -> None:
    """One alert with the reason, told without waiting for a check's run; later refusals do not raise it again."""
    alerts = Alerts(engine)
    for number in (1, 2):
        decide(engine, number)
        finish(engine, minutes_ago=5)
    assert alerts_of(engine) == []
    decide(engine, 3)
    decide(engine, 4)
    assert alerts_of(engine) == [("retraining_halted", "firing", 1)]
    assert "did not settle after 2 retrainings" in alerts.find("m")[0].message
    policy = AlertPolicy(cooldown_s=0)

    def route() -> int:
        return alerts.route(lambda _: policy, ["log"], group_by="kind", group_wait_s=0, run_wait_s=3_600)

    assert [route(), route()] == [1, 0]
    RetrainingTriggers(engine).resume("m", "ann")
    assert alerts_of(engine) == [("retraining_halted", "resolved", 1)]
    assert [route(), route()] == [1, 0]


def test_a_person_holds_and_resumes(engine: Engine) -> None:
    """Nothing starts meanwhile, not even by hand; holding twice and resuming nothing are said to be mistakes."""
    triggers = RetrainingTriggers(engine)
    triggers.pause("m", "ann", "the year's end")
    for trigger in Trigger:
        assert decide(engine, 1, trigger) == "none: held by ann: the year's end"
    assert triggers.decide(occasion(1, "other"), POLICY.limits) is not None
    with pytest.raises(ConflictError, match="held already, by ann"):
        triggers.pause("m", "bob", "me too")
    triggers.resume("m", "bob")
    with pytest.raises(NotFoundError, match="not held"):
        triggers.resume("m", "bob")
    assert str(decide(engine, 2)).startswith("opened")


def test_a_pause_takes_the_place_of_a_halt(engine: Engine) -> None:
    """A person's word outranks the robot's."""
    triggers = RetrainingTriggers(engine)
    for number in (1, 2):
        decide(engine, number)
        finish(engine, minutes_ago=5)
    decide(engine, 3)
    triggers.pause("m", "ann", "looking at it")
    assert triggers.holds()["m"].kind is HoldKind.PERSON
    assert alerts_of(engine) == [("retraining_halted", "resolved", 1)]
