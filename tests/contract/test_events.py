"""The `EventLog` port: what the triggers write and what the twin notes, read alike."""

from collections.abc import Iterator

import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine, text

from mlflow_ext.domain.events import RegistryEventKind
from mlflow_ext.domain.stages import Stage
from mlflow_ext.ports import EventLog, Registry
from mlflow_ext.registry.client import MlflowRegistry
from mlflow_ext.store.events import SqlEventLog
from mlflow_ext.testing import MemoryRegistry

Parts = tuple[EventLog, Registry]


@pytest.fixture(params=["twin", "postgresql"])
def parts(request: pytest.FixtureRequest) -> Iterator[Parts]:
    """An event log, and the registry whose changes it holds: model `wine` with the versions 1 and 2."""
    if request.param == "twin":
        twin = MemoryRegistry()
        twin.add("wine"), twin.add("wine")
        yield twin.log, twin
        return
    engine: Engine = request.getfixturevalue("engine")
    url = engine.url.render_as_string(hide_password=False)
    client = MlflowClient(url, url)
    client.create_registered_model("wine")
    for _ in range(2):
        client.create_model_version("wine", "s3://bucket/model")
    yield SqlEventLog(engine), MlflowRegistry(client)


def test_every_mark_that_moves_leaves_one_event(parts: Parts) -> None:
    """Old and new value are there; a write that changes nothing leaves none."""
    log, registry = parts
    registry.set_stage("wine", 1, Stage.STAGING)
    registry.set_stage("wine", 1, Stage.STAGING)
    registry.set_alias("wine", "production", 1)
    registry.set_alias("wine", "production", 2)
    registry.delete_alias("wine", "production")
    registry.set_tags("wine", 2, {"stage": "Staging"})
    registry.set_tags("wine", 2, {"stage": "Archived"})
    registry.delete_tag("wine", 2, "stage")
    seen = [(e.kind, e.version, e.key, e.old, e.new) for e in log.read("test")]
    assert seen == [
        (RegistryEventKind.VERSION, 1, "", None, "None"),
        (RegistryEventKind.VERSION, 2, "", None, "None"),
        (RegistryEventKind.STAGE, 1, "", "None", "Staging"),
        (RegistryEventKind.ALIAS, 1, "production", None, "1"),
        (RegistryEventKind.ALIAS, 2, "production", "1", "2"),
        (RegistryEventKind.ALIAS, 2, "production", "2", None),
        (RegistryEventKind.TAG, 2, "stage", None, "Staging"),
        (RegistryEventKind.TAG, 2, "stage", "Staging", "Archived"),
        (RegistryEventKind.TAG, 2, "stage", "Archived", None),
    ]


def test_each_consumer_has_a_cursor_of_its_own(parts: Parts) -> None:
    """What one consumer has done with, another still gets; a cursor never moves back."""
    log, registry = parts
    first, second = log.read("one")
    log.advance("one", second)
    log.advance("one", first)
    assert log.read("one") == []
    assert log.read("two", limit=1) == [first]
    registry.set_stage("wine", 2, Stage.STAGING)
    assert [event.new for event in log.read("one")] == ["Staging"]


def test_latest_gives_what_moved_marks_newest_first(parts: Parts) -> None:
    """Other aliases and tags, and other models, are left out."""
    log, registry = parts
    registry.set_alias("wine", "best", 1)
    registry.set_tags("wine", 1, {"team": "red", "stage": "Staging"})
    registry.set_alias("wine", "staging", 2)
    registry.set_stage("wine", 1, Stage.ARCHIVED)
    assert [(e.kind.value, e.version) for e in log.latest("wine")] == [("stage", 1), ("alias", 2), ("tag", 1)]
    assert log.latest("beer") == []
    before = log.latest("wine")
    registry.set_stage("wine", 2, Stage.PRODUCTION)
    registry.set_stage("wine", 1, Stage.NONE)
    newer = log.latest("wine")
    assert [(e.version, e.new) for e in newer[:2]] == [(1, "None"), (2, "Production")]
    assert newer[2:] == before


def test_an_event_that_commits_late_is_not_lost(engine: Engine) -> None:
    """A reader that saw a later event first still gets the earlier one of the slower transaction."""
    log = SqlEventLog(engine)
    insert = text("INSERT INTO mlflow_ext.registry_event (model, kind, new) VALUES (:model, 'stage', 'Staging')")
    seen: list[str] = []

    def read() -> None:
        for event in log.read("test"):
            seen.append(event.model)
            log.advance("test", event)

    with engine.connect() as slow:
        slow.execute(insert, {"model": "slow"})
        with engine.begin() as quick:
            quick.execute(insert, {"model": "quick"})
        read()
        assert seen == []
        slow.commit()
    read()
    assert seen == ["slow", "quick"]
