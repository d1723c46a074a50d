"""Replicas: who is alive, by the database's clock."""

import os

from sqlalchemy import Engine, text

from mlflow_ext.store.replicas import Replicas, new_replica_id


def test_an_announced_replica_is_living_until_it_leaves(engine: Engine) -> None:
    """Announce, beat with a new state, leave: each is seen by the others."""
    replicas = Replicas(engine)
    name = new_replica_id()
    replicas.announce(name, "scoring", "http://127.0.0.1:8000", {"models": {}})
    assert replicas.beat(name, {"models": {"wine": {"version": 3, "generation": 1}}})
    (living,) = replicas.living(5)
    assert (living.id, living.role, living.pid, living.url) == (name, "scoring", os.getpid(), "http://127.0.0.1:8000")
    assert living.state["models"]["wine"]["version"] == 3
    assert 0 <= living.age_s < 5
    assert replicas.living(5, role="drift") == []
    replicas.leave(name)
    assert replicas.living(5) == []


def test_a_replica_without_a_sign_of_life_is_not_living(engine: Engine) -> None:
    """A killed process disappears once its last beat is too old, and a beat brings it back."""
    replicas = Replicas(engine)
    replicas.announce("a", "drift", None, {})
    _age(engine, "a", "20 seconds")
    assert replicas.living(15) == []
    assert [r.id for r in replicas.living(60)] == ["a"]
    assert replicas.beat("a", {})
    assert [r.id for r in replicas.living(15)] == ["a"]


def test_a_beat_of_a_forgotten_replica_says_so(engine: Engine) -> None:
    """After a day without life the row is dropped by the next announcement, and beat answers False."""
    replicas = Replicas(engine)
    replicas.announce("old", "promotion", None, {})
    _age(engine, "old", "2 days")
    replicas.announce("new", "promotion", None, {})
    assert not replicas.beat("old", {})
    assert [r.id for r in replicas.living(1e9)] == ["new"]


def _age(engine: Engine, name: str, by: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE mlflow_ext.replica SET heartbeat_at = heartbeat_at - CAST(:by AS interval) WHERE id = :id"),
            {"by": by, "id": name},
        )
