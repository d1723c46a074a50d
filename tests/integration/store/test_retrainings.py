"""Which alerts open a retraining: at most one per model, with a reason for every other."""

from sqlalchemy import Engine, insert, text

from mlflow_ext.domain.retraining import RetrainingState
from mlflow_ext.policy import RetrainingPolicy
from mlflow_ext.store.retrainings import Retrainings
from mlflow_ext.store.tables import alert

POLICY = RetrainingPolicy(project="here", cooldown_s=60.0)


def raise_alert(engine: Engine, model: str = "m") -> int:
    """Put an alert into the outbox."""
    with engine.begin() as connection:
        values = {"model": model, "severity": "warning", "message": "drifted"}
        return int(connection.execute(insert(alert).values(values).returning(alert.c.id)).scalar_one())


def test_an_alert_opens_one_and_others_wait_for_it_and_the_cooldown(engine: Engine) -> None:
    """Opened; refused while it is open; refused while it cools down; opened again afterwards."""
    retrainings = Retrainings(engine, owner="me")
    decisions = []

    def decide() -> str:
        raise_alert(engine)
        decided = retrainings.consider_next_alert(lambda _: POLICY)
        assert decided is not None
        decisions.append(decided[1])
        return decided[1]

    assert decide().startswith("opened retraining")
    assert "is open" in decide()
    one = retrainings.claim()
    assert one is not None
    assert retrainings.done(one, "run", 2)
    assert "cooling down until" in decide()
    with engine.begin() as connection:
        connection.execute(text("UPDATE mlflow_ext.retraining SET finished_at = finished_at - interval '2 minutes'"))
    assert decide().startswith("opened retraining")
    assert retrainings.consider_next_alert(lambda _: POLICY) is None
    assert [found.state for found in retrainings.find("m")] == [RetrainingState.DUE, RetrainingState.DONE]


def test_without_a_project_nothing_is_opened_and_the_reason_is_kept(engine: Engine) -> None:
    """The alert's row says why."""
    raise_alert(engine)
    retrainings = Retrainings(engine)
    assert retrainings.consider_next_alert(lambda _: RetrainingPolicy()) is not None
    assert retrainings.find() == []
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT retraining FROM mlflow_ext.alert")).scalar()
    assert kept == "none: the policy names no project"


def test_other_models_are_not_held_up(engine: Engine) -> None:
    """One open retraining per model, not in all."""
    retrainings = Retrainings(engine)
    for model in ("a", "b"):
        raise_alert(engine, model)
        retrainings.consider_next_alert(lambda _: POLICY)
    assert {one.model for one in retrainings.find()} == {"a", "b"}


def test_a_killed_runners_retraining_is_taken_over_after_the_lease(engine: Engine) -> None:
    """And the killed one's late word changes nothing."""
    raise_alert(engine)
    first, second = (Retrainings(engine, owner=name, lease_s=1.0) for name in ("first", "second"))
    first.consider_next_alert(lambda _: POLICY)
    mine = first.claim()
    assert mine is not None
    assert second.claim() is None
    with engine.begin() as connection:
        connection.execute(text("UPDATE mlflow_ext.retraining SET lease_until = clock_timestamp()"))
    theirs = second.claim()
    assert theirs is not None
    assert theirs.attempt == 2
    assert not first.done(mine, "run", 2)
    assert second.failed(theirs, "why")
    assert second.find()[0].error == "why"
