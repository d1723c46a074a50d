"""The chain's rules and the replay of a trail, without a database."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mlflow_ext.domain.audit import GENESIS, AuditEntry, AuditHead, check_chain, check_expected
from mlflow_ext.domain.audit_replay import Marks, differing, in_production

NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)


def chain(*told: dict[str, Any], step: timedelta = timedelta(minutes=1)) -> list[AuditEntry]:
    """Write entries as the database would."""
    entries: list[AuditEntry] = []
    for seq, fields_ in enumerate(told, 1):
        details = json.dumps(fields_.pop("details", {}))
        base: dict[str, Any] = dict.fromkeys(field.name for field in fields(AuditEntry))
        entry = AuditEntry(
            **base
            | {"id": seq, "workspace": "default", "model": "wine", "seq": seq, "at": NOON + seq * step}
            | {"actor": "alice", "source": "ui", "details": details, "hash": ""}
            | {"previous": entries[-1].hash if entries else GENESIS}
            | fields_
        )
        entries.append(replace(entry, hash=entry.computed))
    return entries


def stage(version: int, before: str, after: str, **more: Any) -> dict[str, Any]:
    """One change of a stage."""
    return {"action": "version:stage", "version": version, "before": before, "after": after, **more}


STORY = (
    {"action": "version:registered", "version": 1, "after": "None"},
    stage(1, "None", "Production", actor="bob"),
    {"action": "version:registered", "version": 2, "after": "None"},
    {"action": "promotion:requested", "version": 2, "after": "requested", "promotion_id": 7},
    {"action": "promotion:gates_passed", "version": 2, "after": "rolling_out", "promotion_id": 7, "evidence": "e"},
    stage(2, "None", "Production"),
    stage(1, "Production", "Archived"),
    {"action": "alias:set", "version": 2, "after": "2", "details": {"key": "production", "agreement": True}},
    {"action": "guard:refused", "version": 1, "after": "Production"},
    {"action": "promotion:published", "version": 2, "after": "promoted", "promotion_id": 7, "evidence": "e"},
)


def test_an_untouched_chain_is_whole() -> None:
    """With its head, and with any head that was exported on the way."""
    entries = chain(*map(dict, STORY))
    heads = [AuditHead("default", "wine", one.seq, one.hash) for one in entries]
    assert check_chain("default", "wine", entries, heads[-1]) == []
    assert [finding for head in heads for finding in check_expected(entries, head)] == []


@given(some.data())
def test_any_other_field_shows(data: some.DataObject) -> None:
    """Whatever field of whatever entry is given another value, the chain says so."""
    entries = chain(*map(dict, STORY))
    head = AuditHead("default", "wine", len(entries), entries[-1].hash)
    place = data.draw(some.integers(0, len(entries) - 1))
    name = data.draw(some.sampled_from([field.name for field in fields(AuditEntry)]))
    old = getattr(entries[place], name)
    new: Any = {
        int: some.integers(0, 10**6),
        datetime: some.datetimes(timezones=some.just(UTC)),
    }.get(type(old), some.text(max_size=5))
    value = data.draw(new.filter(lambda one: one != old))
    tampered = [*entries[:place], replace(entries[place], **{name: value}), *entries[place + 1 :]]
    assert check_chain("default", "wine", tampered, head) != []


@given(some.text(), some.text())
def test_fields_do_not_run_into_each_other(one: str, other: str) -> None:
    """What moves from one field to its neighbour gives another hash: lengths are part of it."""
    (entry,) = chain({"action": "version:stage"})
    split = replace(entry, before=one, after=other).computed
    assert (split == replace(entry, before=one + other, after="").computed) is (other == "")
    assert replace(entry, before=None).computed != replace(entry, before="").computed


def test_the_moment_says_who_and_on_what_evidence() -> None:
    """A version that a person moved has no steps; one that was promoted has those of its promotion."""
    entries = chain(*map(dict, STORY))
    by_hand = in_production("wine", entries[:3])
    assert (by_hand.version, by_hand.brought and by_hand.brought.actor, by_hand.steps) == (1, "bob", ())
    now = in_production("wine", entries)
    assert (now.version, now.brought and now.brought.seq) == (2, 6)
    assert [step.seq for step in now.steps] == [4, 5, 10]
    assert in_production("wine", entries[:1]).version is None


def test_what_was_withdrawn_names_who_did_it() -> None:
    """Nothing in Production: the entry that took the last one away."""
    entries = chain(*map(dict, STORY[:2]), stage(1, "Production", "Archived", actor="carol"))
    found = in_production("wine", entries)
    assert (found.version, found.brought and found.brought.actor) == (None, "carol")


@pytest.mark.parametrize("step", [timedelta(days=-1), timedelta(0), timedelta(days=1)])
def test_order_is_by_place_not_by_clock(step: timedelta) -> None:
    """A clock that runs backwards or stands still changes no answer."""
    found = in_production("wine", chain(*map(dict, STORY), step=step))
    assert (found.version, found.brought and found.brought.seq) == (2, 6)


def test_a_registry_that_moved_unseen_differs() -> None:
    """Stage, alias, a vanished version; one that nobody told of, as long as it is in no stage, is fine."""
    told = Marks(stages={1: "Production", 2: "None"}, aliases={"production": 1})
    assert list(differing(told, Marks(stages={1: "Production", 2: "None", 3: "None"}, aliases={"production": 1}))) == []
    found = Marks(stages={1: "Archived"}, aliases={})
    assert list(differing(told, found)) == [
        "version 1 is in stage Archived, the trail left it in Production",
        "version 2 is gone, the trail left it in stage None",
        "the alias production is at no version, the trail left it at version 1",
    ]
