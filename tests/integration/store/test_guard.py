"""The guard in the database: what it refuses whatever the way, and what it lets through."""

import pytest
from hypothesis import given
from hypothesis import strategies as some
from mlflow import MlflowClient
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from mlflow_ext.domain.guard import STORE_SETTING, GuardMode
from mlflow_ext.domain.promotion import PromotionEvent
from mlflow_ext.domain.stages import Stage
from mlflow_ext.errors import GateRefusedError
from mlflow_ext.health import check_triggers
from mlflow_ext.registry.client import MlflowRegistry
from mlflow_ext.store.audit import SqlAudit
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.guard import Guard
from mlflow_ext.store.promotions import SqlPromotions

BLANKS = [chr(code) for code in range(0x3001) if chr(code).isspace()]


@pytest.fixture
def client(engine: Engine) -> MlflowClient:
    """MLflow's client on the test's database: guarded model `wine` and unguarded model `beer`, two versions each."""
    url = engine.url.render_as_string(hide_password=False)
    client = MlflowClient(url, url)
    for model in ("wine", "beer"):
        client.create_registered_model(model)
        for _ in range(2):
            client.create_model_version(model, "s3://bucket/model")
    Guard(engine).set_modes(GuardMode.WARN, {"wine": GuardMode.ENFORCE})
    return client


def promoted(
    engine: Engine, version: int, event: PromotionEvent = PromotionEvent.GATES_PASSED, **request: bool
) -> None:
    """Let a promotion of `wine` be judged."""
    promotions = SqlPromotions(engine, owner="worker")
    promotions.request("wine", version, source="cli", cause=f"test:{version}:{event}", **request)
    claimed = promotions.claim()
    assert claimed is not None
    promotions.record(claimed, event, note="it was judged")


def sql(engine: Engine, *statements: str, ours: bool = False) -> None:
    """Change MLflow's tables by hand, with or without our store's marker."""
    with engine.begin() as connection:
        if ours:
            connection.execute(text(f"SELECT set_config('{STORE_SETTING}', 'on', true)"))
        for statement in statements:
            connection.execute(text(statement))


STAGE = "UPDATE model_versions SET current_stage = '{}' WHERE name = 'wine' AND version = 2"
TAG = (
    "INSERT INTO model_version_tags (key, value, name, version, workspace) VALUES ('stage', '{}', 'wine', 2, 'default')"
)
INSERT = (
    "INSERT INTO model_versions (name, version, workspace, current_stage) VALUES ('wine', 9, 'default', 'Production')"
)
MARKS = {
    "stage": STAGE.format("Production"),
    "stage in other letters": STAGE.format("PRODUCTION"),
    "new row": INSERT,
    "tag": TAG.format("Production"),
    "tag in other letters": TAG.format(" pRoDuCtIoN\u00a0"),
    "alias": "INSERT INTO registered_model_aliases (alias, version, name, workspace) "
    "VALUES ('production', 2, 'wine', 'default')",
}


@pytest.mark.usefixtures("client")
def test_sql_without_a_passed_promotion_is_refused(engine: Engine) -> None:
    """Each mark, spelled in any way that counts as Production; a forged marker does not help."""
    for mark in MARKS:
        for ours in (False, True):
            with pytest.raises(DBAPIError, match="cannot be moved to Production by hand"):
                sql(engine, MARKS[mark], ours=ours)


@pytest.mark.usefixtures("client")
def test_sql_is_refused_even_when_the_gates_passed(engine: Engine) -> None:
    """Plain SQL would go around the one-Production rule; with the store's marker and evidence it is let through."""
    promoted(engine, 2)
    with pytest.raises(DBAPIError, match="not go to Production in this way"):
        sql(engine, MARKS["stage"])
    sql(engine, MARKS["stage"], ours=True)


@pytest.mark.usefixtures("client")
def test_who_tried_by_sql_is_written_down_afterwards(engine: Engine) -> None:
    """The refused statement leaves nothing but numbers that no rollback undoes; the worker makes an entry of them."""
    guard = Guard(engine)
    assert guard.note_refusals() == 0
    sql(
        engine,
        "CREATE ROLE mallory_of_this_test LOGIN",
        "GRANT UPDATE, SELECT ON model_versions TO mallory_of_this_test",
    )
    try:
        for user in ("postgres", "postgres", "mallory_of_this_test"):
            other = make_engine(engine.url.set(username=user).render_as_string(hide_password=False))
            with pytest.raises(DBAPIError, match="cannot be moved"):
                sql(other, MARKS["stage"])
            other.dispose()
        assert (guard.note_refusals(), guard.note_refusals()) == (3, 0)
    finally:
        sql(engine, "DROP OWNED BY mallory_of_this_test", "DROP ROLE mallory_of_this_test")
    last = SqlAudit(engine).entries("wine")[-1]
    assert (last.action, last.actor, last.source) == ("guard:refused", "sql:mallory_of_this_test", "sql")
    assert "3 by SQL since the last look" in last.details
    with pytest.raises(DBAPIError):
        sql(engine, MARKS["alias"])
    assert guard.note_refusals() == 1
    assert SqlAudit(engine).verify() == []


@pytest.mark.usefixtures("client")
def test_a_version_in_production_cannot_become_another_one(engine: Engine) -> None:
    """A row in Production that takes another number brings that number to Production."""
    promoted(engine, 1)
    sql(engine, "UPDATE model_versions SET current_stage = 'Production' WHERE name = 'wine' AND version = 1", ours=True)
    with pytest.raises(DBAPIError, match="Version 7 of wine cannot be moved"):
        sql(engine, "UPDATE model_versions SET version = 7 WHERE name = 'wine' AND version = 1", ours=True)


@pytest.mark.usefixtures("client")
def test_everything_else_is_free(engine: Engine) -> None:
    """Other stages, other aliases and tags, other models, and whatever leaves Production."""
    sql(
        engine,
        STAGE.format("Staging"),
        STAGE.format("Archived"),
        TAG.format("experimental"),
        MARKS["stage"].replace("wine", "beer"),
        MARKS["alias"].replace("wine", "beer"),
        MARKS["alias"].replace("'production'", "'Production'"),
        STAGE.replace("wine", "beer").format("None"),
    )


def test_a_promotion_that_did_not_pass_is_no_evidence(engine: Engine, client: MlflowClient) -> None:
    """Rejected, waiting, failed, superseded: refused, and the words say how it stands and what to do."""
    for event, stands in (
        (PromotionEvent.GATES_FAILED, 'ended as "rejected": it was judged'),
        (PromotionEvent.FAIL, 'ended as "failed": it was judged'),
        (PromotionEvent.SUPERSEDE, 'ended as "superseded": it was judged'),
        (PromotionEvent.APPROVAL_NEEDED, r"\(`mlflow-ext approve 4`\): it was judged"),
    ):
        promoted(engine, 2, event)
        with pytest.raises(GateRefusedError, match=stands) as refused:
            MlflowRegistry(client).set_stage("wine", 2, Stage.PRODUCTION)
        assert "mlflow-ext promote wine 2" in str(refused.value)
        assert "mark the version Staging" in str(refused.value)


def test_a_dry_run_and_another_versions_promotion_are_no_evidence(engine: Engine, client: MlflowClient) -> None:
    """Version 1 passed; version 2 was only tried."""
    promoted(engine, 1)
    promoted(engine, 2, PromotionEvent.DRY_RUN_ENDED, dry_run=True)
    registry = MlflowRegistry(client)
    with pytest.raises(GateRefusedError, match="have not been computed yet"):
        registry.set_stage("wine", 2, Stage.PRODUCTION)
    registry.set_stage("wine", 1, Stage.PRODUCTION)


def test_a_tag_of_ours_is_no_evidence(client: MlflowClient) -> None:
    """Anybody who may edit a version may write the tags that the results are shown in."""
    registry = MlflowRegistry(client)
    registry.set_tags("wine", 2, {"mlflow_ext.gates": "passed", "mlflow_ext.promotion": "1"})
    with pytest.raises(GateRefusedError):
        registry.set_alias("wine", "production", 2)


def test_refusals_are_written_down_with_who(engine: Engine, client: MlflowClient) -> None:
    """The refused change leaves nothing but the entry that it was tried."""
    with pytest.raises(GateRefusedError):
        MlflowRegistry(client).set_tags("wine", 2, {"stage": "production "})
    last = SqlAudit(engine).entries("wine")[-1]
    assert (last.action, last.version, last.source) == ("guard:refused", 2, "python")
    assert '"mark": "tag"' in last.details
    assert SqlAudit(engine).verify() == []


def test_a_warning_is_written_down_and_lets_pass(engine: Engine, client: MlflowClient) -> None:
    """Mode `warn` is MLflow as it always was, with an entry; `off` has no entry."""
    registry = MlflowRegistry(client)
    registry.set_stage("beer", 1, Stage.PRODUCTION)
    assert [entry.action for entry in SqlAudit(engine).entries("beer")][-2:] == ["version:stage", "guard:warned"]
    Guard(engine).set_modes(GuardMode.OFF, {})
    registry.set_stage("beer", 2, Stage.PRODUCTION)
    registry.set_alias("wine", "production", 2)
    actions = [entry.action for entry in SqlAudit(engine).entries("beer")]
    assert actions.count("guard:warned") == 1
    assert SqlAudit(engine).verify() == []


def test_a_version_that_is_there_already_gets_its_other_marks(engine: Engine, client: MlflowClient) -> None:
    """Switching the guard on takes nothing away: agreement of marks goes on, and another version is refused."""
    registry = MlflowRegistry(client)
    registry.set_alias("beer", "production", 1)
    Guard(engine).set_modes(GuardMode.ENFORCE, {})
    registry.set_stage("beer", 1, Stage.PRODUCTION)
    registry.set_tags("beer", 1, {"stage": "Production"})
    registry.set_alias("beer", "production", 1)
    with pytest.raises(GateRefusedError):
        registry.set_alias("beer", "production", 2)
    assert client.get_model_version_by_alias("beer", "production").version == 1


def test_a_refused_transition_leaves_the_former_version_in_production(engine: Engine, client: MlflowClient) -> None:
    """Archiving and moving are one transaction."""
    promoted(engine, 1)
    registry = MlflowRegistry(client)
    registry.set_stage("wine", 1, Stage.PRODUCTION)
    with pytest.raises(GateRefusedError):
        registry.set_stage("wine", 2, Stage.PRODUCTION)
    assert [client.get_model_version("wine", v).current_stage for v in "12"] == ["Production", "None"]


def test_evidence_goes_with_a_deleted_model(engine: Engine, client: MlflowClient) -> None:
    """A new model of the same name has a version 2 again, which nobody has judged."""
    promoted(engine, 2)
    client.delete_registered_model("wine")
    client.create_registered_model("wine")
    for _ in range(2):
        client.create_model_version("wine", "s3://bucket/other")
    with pytest.raises(GateRefusedError, match="have not been computed yet"):
        MlflowRegistry(client).set_stage("wine", 2, Stage.PRODUCTION)


def test_evidence_follows_a_renamed_model(engine: Engine, client: MlflowClient) -> None:
    """Under its new name, guarded too, the version may be put back; the chain and the promotions still fit."""
    promoted(engine, 1)
    promoted(engine, 2)
    registry = MlflowRegistry(client)
    registry.set_stage("wine", 1, Stage.PRODUCTION)
    registry.set_stage("wine", 2, Stage.PRODUCTION)
    Guard(engine).set_modes(GuardMode.ENFORCE, {})
    client.rename_registered_model("wine", "vino")
    registry.set_stage("vino", 1, Stage.PRODUCTION)
    assert SqlAudit(engine).verify() == []


def test_nobody_comes_in_under_a_guarded_name(engine: Engine, client: MlflowClient) -> None:
    """An unguarded model with a version in Production cannot take the name of a guarded one."""
    MlflowRegistry(client).set_stage("beer", 1, Stage.PRODUCTION)
    client.rename_registered_model("wine", "elsewhere")
    with pytest.raises(Exception, match="cannot be moved to Production by hand"):
        client.rename_registered_model("beer", "wine")
    assert client.get_model_version("beer", "1").current_stage == "Production"


def test_a_version_cannot_be_born_in_production(engine: Engine, client: MlflowClient) -> None:
    """A tag that is given with a new version counts like one that is set later."""
    with pytest.raises(Exception, match="cannot be moved to Production by hand"):
        client.create_model_version("wine", "s3://bucket/model", tags={"stage": "Production"})
    assert len(client.search_model_versions("name = 'wine'")) == 2


def test_the_modes_are_audited_whoever_sets_them(engine: Engine, client: MlflowClient) -> None:
    """By the policies, and by SQL; setting the same again is no change."""
    guard = Guard(engine)
    guard.set_modes(GuardMode.WARN, {"wine": GuardMode.ENFORCE})
    assert (guard.mode("wine"), guard.mode("beer")) == (GuardMode.ENFORCE, GuardMode.WARN)
    sql(engine, "UPDATE mlflow_ext.guard SET mode = 'off' WHERE model = 'wine'")
    guard.set_modes(GuardMode.WARN, {})
    told = [entry for entry in SqlAudit(engine).entries("wine") if entry.action == "guard:mode"]
    assert [(e.before, e.after, e.source) for e in told] == [
        (None, "enforce", "python"),
        ("enforce", "off", "sql"),
        ("off", None, "python"),
    ]


def test_an_evidence_that_was_made_up_is_found(engine: Engine, client: MlflowClient) -> None:
    """Whoever writes into our tables by hand gets past the guard; the trail does not know that promotion."""
    sql(
        engine,
        "INSERT INTO mlflow_ext.promotion (model, version, state, source, cause) "
        "VALUES ('wine', 2, 'promoted', 'cli', 'forged')",
    )
    MlflowRegistry(client).set_stage("wine", 2, Stage.PRODUCTION)
    assert [one.problem for one in SqlAudit(engine).verify()] == ["promotion 1 (promoted) is not in the trail"]
    promoted(engine, 1, PromotionEvent.GATES_FAILED)
    sql(engine, "UPDATE mlflow_ext.promotion SET state = 'promoted' WHERE version = 1")
    assert "promotion 2 is promoted, entry 6 left it rejected" in [one.problem for one in SqlAudit(engine).verify()]


def test_missing_triggers_are_reported_while_a_model_is_guarded(engine: Engine, client: MlflowClient) -> None:
    """`mlflow-ext status` says so; without guarded models it is no matter."""
    url = engine.url.render_as_string(hide_password=False)
    assert check_triggers(url).ok
    sql(engine, "DROP TRIGGER mlflow_ext_guard ON model_version_tags")
    assert "the guard's are missing" in check_triggers(url).detail
    Guard(engine).set_modes(GuardMode.WARN, {})
    assert check_triggers(url).ok


def test_without_our_tables_mlflow_works(engine: Engine, client: MlflowClient) -> None:
    """What cannot be known is not refused."""
    sql(engine, "DROP TABLE mlflow_ext.guard CASCADE")
    MlflowRegistry(client).set_stage("wine", 2, Stage.PRODUCTION)


def test_the_database_reads_stages_as_python_does(engine: Engine) -> None:
    """A word that our code takes for Production is one to the guard: every blank, every case, and nothing else."""
    with engine.connect() as connection:
        query = text("SELECT mlflow_ext.is_production(:word)")

        def agree(word: str) -> None:
            found = connection.execute(query, {"word": word}).scalar_one()
            assert found is (Stage.parse(word) is Stage.PRODUCTION), repr(word)

        for blank in BLANKS:
            agree(f"{blank}Production{blank}")
        for word in (
            "",
            "production",
            "PRODUCT\u0130ON",
            "product\u0131on",
            "Product\u0131on",
            "\uff30RODUCTION",
            "Staging",
            "pro duction",
        ):
            agree(word)

        @given(some.text(some.characters(codec="utf-8", exclude_characters="\x00"), max_size=4), some.booleans())
        def anything(around: str, upper: bool) -> None:
            agree(around + ("PRODUCTION" if upper else "Production") + around)

        anything()
