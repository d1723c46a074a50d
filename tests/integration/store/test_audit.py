"""The audit trail: what gets into it, that it only grows, and that tampering shows."""

import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersionTag
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from mlflow_ext.domain.actors import Actor, Source, acting_as
from mlflow_ext.domain.audit import AuditEvent
from mlflow_ext.domain.audit_replay import in_production
from mlflow_ext.domain.promotion import PromotionEvent
from mlflow_ext.domain.stages import Stage
from mlflow_ext.plugins.registry_store import registry_store
from mlflow_ext.registry.client import MlflowRegistry
from mlflow_ext.store import schema
from mlflow_ext.store.audit import SqlAudit, append, verify
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.promotions import SqlPromotions
from tests.integration.store.audited import WITH_EXPORT, WITHOUT_EXPORT, Tamper, truncate_with_head, write_story

ALICE = Actor("alice", Source.REST)


def test_a_story_is_told_in_its_order(engine: Engine) -> None:
    """Marks and the promotion's steps are one chain, with who, what before and after, policy and evidence."""
    with acting_as(ALICE):
        write_story(engine, ["wine"], rounds=1)
    entries = SqlAudit(engine).entries("wine")
    assert [(e.seq, e.action, e.before, e.after) for e in entries] == [
        (1, "version:registered", None, "None"),
        (2, "version:stage", "None", "Staging"),
        (3, "promotion:requested", None, "requested"),
        (4, "promotion:gates_passed", "evaluating", "rolling_out"),
        (5, "version:stage", "Staging", "Production"),
        (6, "promotion:published", "rolling_out", "promoted"),
        (7, "alias:set", None, "1"),
        (8, "tag:set", None, "Production"),
    ]
    assert {(e.actor, e.source) for e in entries} == {("alice", "rest")}
    judged = entries[3]
    assert judged.policy_hash == f"{1:064d}"
    assert len(judged.evidence or "") == 64
    assert "postgres" in judged.details  # the connected user


def test_plain_sql_is_written_down_with_the_databases_user(engine: Engine) -> None:
    """Whoever goes around MLflow is named by what PostgreSQL knows."""
    write_story(engine, ["wine"], rounds=1)
    with engine.begin() as connection:
        connection.execute(text("UPDATE model_versions SET current_stage = 'Archived' WHERE name = 'wine'"))
    last = SqlAudit(engine).entries("wine")[-1]
    assert (last.action, last.after, last.actor, last.source) == ("version:stage", "Archived", "sql:postgres", "sql")


def test_what_is_rolled_back_leaves_nothing(engine: Engine) -> None:
    """An entry belongs to the transaction that it tells of."""
    with engine.connect() as connection:
        append(connection, AuditEvent("wine", "version:stage"))
        connection.rollback()
    assert SqlAudit(engine).entries("wine") == []
    assert SqlAudit(engine).verify() == []


@pytest.mark.parametrize("table", ["audit", "audit_head"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET hash = ''", "DELETE FROM {}", "TRUNCATE {}"])
def test_the_trail_only_grows(engine: Engine, table: str, statement: str) -> None:
    """UPDATE, DELETE and TRUNCATE are refused, also to the tables' owner."""
    with pytest.raises(DBAPIError, match="only grows"), engine.begin() as connection:
        connection.execute(text(statement.format(f"mlflow_ext.{table}")))


def test_a_forged_entry_gets_its_place_time_and_hash_from_the_database(engine: Engine) -> None:
    """An INSERT by hand cannot choose where it stands, when it was, or who was connected."""
    write_story(engine, ["wine"], rounds=1)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO mlflow_ext.audit (model, seq, at, action, actor, source, previous, hash, details) VALUES "
                "('wine', 2, '2020-01-01', 'version:stage', 'alice', 'ui', 'x', 'y', '{\"connection\": {}}')"
            )
        )
    forged = SqlAudit(engine).entries("wine")[-1]
    assert (forged.seq, forged.at.year > 2020, "postgres" in forged.details) == (9, True, True)
    assert SqlAudit(engine).verify() == []


def test_the_head_cannot_be_moved_by_hand(engine: Engine) -> None:
    """Not even by an INSERT of another chain's head."""
    with pytest.raises(DBAPIError, match="only grows"), engine.begin() as connection:
        connection.execute(text("INSERT INTO mlflow_ext.audit_head VALUES ('default', 'ghost', 1, '')"))


def test_many_writers_make_one_chain(engine: Engine) -> None:
    """Eight threads append 200 entries to one chain at once; it is whole."""

    def write(number: int) -> None:
        with engine.begin() as connection:
            append(connection, AuditEvent("wine", "version:stage", version=number, details={"emoji": "🍷 ünïcode"}))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(200)))
    entries = SqlAudit(engine).entries("wine")
    assert [entry.seq for entry in entries] == list(range(1, 201))
    assert sorted(entry.version or 0 for entry in entries) == list(range(200))
    assert SqlAudit(engine).verify("wine") != []  # these stages are in no registry
    assert {finding.problem.split()[-1] for finding in SqlAudit(engine).verify("wine")} == {"None"}


def test_two_transactions_that_touch_the_same_versions_crosswise_both_end_and_are_told(engine: Engine) -> None:
    """The chain is locked after everything else, so it adds no deadlock to those that MLflow's rows may have."""
    write_story(engine, ["wine"], rounds=2)
    with engine.connect() as one, engine.connect() as other:
        one.execute(text("UPDATE model_versions SET current_stage = 'None' WHERE name = 'wine' AND version = 1"))
        other.execute(text("UPDATE model_versions SET current_stage = 'Staging' WHERE name = 'wine' AND version = 2"))
        one.execute(
            text(
                "INSERT INTO registered_model_aliases (workspace, name, alias, version) "
                "VALUES ('default', 'wine', 'old', 1)"
            )
        )
        other.commit()
        one.commit()
    assert SqlAudit(engine).verify() == []
    assert [entry.action for entry in SqlAudit(engine).entries("wine")][-3:] == [
        "version:stage",
        "version:stage",
        "alias:set",
    ]


def test_writers_of_every_kind_at_once_leave_a_whole_trail(engine: Engine) -> None:
    """Stages, aliases, tags and promotions, from six threads: no change is missing, no chain is broken."""
    models = ["wine", "beer"]
    write_story(engine, models, rounds=2)
    url = engine.url.render_as_string(hide_password=False)
    store = registry_store(url)
    promotions = SqlPromotions(engine)

    def work(number: int) -> None:
        model, version = models[number % 2], str(1 + number // 2 % 2)
        store.transition_model_version_stage(model, version, ["Staging", "Production"][number % 2], False)
        store.set_registered_model_alias(model, f"alias{number % 3}", version)
        store.set_model_version_tag(model, version, ModelVersionTag("stage", ["Staging", "Archived"][number % 2]))
        asked = promotions.request(models[0], 100 + number, source="cli", cause="test")
        promotions.record(asked, PromotionEvent.SUPERSEDE, note="over")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(60)))
    assert SqlAudit(engine).verify() == []
    assert sum(entry.action.startswith("promotion:") for entry in SqlAudit(engine).entries("wine")) == 6 + 120


def test_marks_that_were_there_before_the_trail_are_its_beginning(engine: Engine) -> None:
    """A deployment that is upgraded can answer from then on, and nothing looks like tampering."""
    write_story(engine, ["wine"], rounds=2)
    with engine.begin() as connection:
        # as if the trail's tables had come only now
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("DELETE FROM mlflow_ext.audit"))
        connection.execute(text("DELETE FROM mlflow_ext.audit_head"))
    schema.upgrade(engine)
    assert SqlAudit(engine).verify() == []
    found = in_production("wine", SqlAudit(engine).entries("wine"))
    assert (found.version, found.steps) == (2, ())
    assert found.brought is not None
    assert found.brought.action == "trail:opened"


def test_the_past_can_be_asked_for(engine: Engine) -> None:
    """What was Production at a time, who brought it there, and which promotion led there."""
    with acting_as(ALICE):
        write_story(engine, ["wine"], rounds=2)
    between = next(e.at for e in SqlAudit(engine).entries("wine") if e.version == 2)
    url = engine.url.render_as_string(hide_password=False)
    with acting_as(Actor("ui:bob@host", Source.UI)):
        MlflowRegistry(MlflowClient(url, url)).set_stage("wine", 2, Stage.ARCHIVED)
    trail = SqlAudit(engine)
    first = in_production("wine", trail.entries("wine", until=between))
    assert (first.version, first.brought and first.brought.actor) == (1, "alice")
    assert [step.action for step in first.steps] == [
        "promotion:requested",
        "promotion:gates_passed",
        "promotion:published",
    ]
    now = in_production("wine", trail.entries("wine", until=datetime.now(UTC)))
    assert (now.version, now.brought and now.brought.actor) == (None, "ui:bob@host")


def test_a_change_while_the_triggers_were_off_is_found(engine: Engine) -> None:
    """The registry is compared with what the trail says: a hand that switched the triggers off shows."""
    write_story(engine)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("UPDATE model_versions SET current_stage = 'Production' WHERE name = 'wine'"))
        connection.execute(text("DELETE FROM registered_model_aliases WHERE name = 'beer'"))
    problems = [finding.problem for finding in SqlAudit(engine).verify()]
    assert "version 1 is in stage Production, the trail left it in Archived" in problems
    assert "the alias production is at no version, the trail left it at version 4" in problems


def test_an_edited_report_is_found(engine: Engine) -> None:
    """The trail vouches for the gates' report in our tables; numbers that were made prettier later show."""
    write_story(engine, ["wine"], rounds=1)
    with engine.begin() as connection:
        connection.execute(text('UPDATE mlflow_ext.promotion SET report = \'{"results": [{"value": 0.99}]}\''))
    (finding,) = SqlAudit(engine).verify()
    assert "report of promotion 1 is not the one that entry 6 vouches for" in finding.problem


def test_a_cut_off_end_with_a_mended_head_is_found_by_an_exported_head_only(engine: Engine) -> None:
    """The documented limit: what was written last can vanish with its rows, unless heads are kept elsewhere."""
    write_story(engine)
    promotions = SqlPromotions(engine)
    promotions.request("wine", 1, source="cli", cause="last")
    heads = SqlAudit(engine).heads()
    with engine.connect() as connection:
        connection.execute(text("SET session_replication_role = replica"))
        connection.execute(
            text(
                "DELETE FROM mlflow_ext.audit WHERE model = 'wine' AND action = 'promotion:requested' "
                "AND seq = (SELECT max(seq) FROM mlflow_ext.audit WHERE model = 'wine')"
            )
        )
        truncate_with_head(connection, _LastOnly())
        assert [finding.problem for finding in verify(connection)] == ["promotion 9 (requested) is not in the trail"]
        connection.execute(text("DELETE FROM mlflow_ext.promotion WHERE id = 9"))
        assert verify(connection) == []
        assert [finding.model for finding in verify(connection, expected=heads)] == ["wine"]


def test_60_random_tamperings_are_all_found(engine: Engine) -> None:
    """The small form of the sweep."""
    write_story(engine)
    tampered(engine, WITH_EXPORT, 60)


@pytest.mark.slow
def test_1000_random_tamperings_are_all_found(engine: Engine) -> None:
    """Edit, delete, reorder, truncate, with and without hiding the traces: all found, and the untouched trail never."""
    write_story(engine)
    tampered(engine, WITH_EXPORT, 1000)
    tampered(engine, WITHOUT_EXPORT, 1000, export=False)


def tampered(engine: Engine, ways: Sequence[Tamper], times: int, *, export: bool = True) -> None:
    """Tamper so many times, each in a transaction of its own that is undone, and print what was found."""
    heads = SqlAudit(engine).heads() if export else []
    dice = random.Random(7)  # noqa: S311  (dice of a test)
    found, tried = Counter[str](), Counter[str]()
    for turn in range(times):
        way = ways[turn % len(ways)]
        with engine.connect() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            told = way(connection, dice)
            findings = verify(connection, expected=heads)
            assert findings, told
            tried[way.__name__] += 1
            found[way.__name__] += 1
            connection.rollback()
    assert SqlAudit(engine).verify(expected=heads) == []
    print("; ".join(f"{name}: {found[name]} of {tried[name]} found" for name in sorted(tried)))


class _LastOnly(random.Random):
    """Dice that cut one entry off the end of `wine`."""

    def choice(self, seq):  # type: ignore[no-untyped-def]
        return seq[0]

    def randint(self, a: int, b: int) -> int:
        return b


def test_without_mlflows_tables_the_trail_is_whole(empty_database_url: str) -> None:
    """Our schema alone has an opened trail and nothing to complain about."""
    engine = make_engine(empty_database_url)
    schema.upgrade(engine)
    assert SqlAudit(engine).verify() == []
    assert [head.model for head in SqlAudit(engine).heads()] == [""]
    engine.dispose()
