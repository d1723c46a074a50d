"""The table `token` on a real PostgreSQL."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from mlflow_ext.domain.actors import Actor, Source, acting_as
from mlflow_ext.domain.tokens import Right, TokenState, token_digest, token_id
from mlflow_ext.errors import InvalidInputError, NotFoundError, UnavailableError
from mlflow_ext.store.audit import SqlAudit
from mlflow_ext.store.engine import make_engine, translated
from mlflow_ext.store.notifications import PgNotifications
from mlflow_ext.store.tokens import CHANNEL, Tokens
from tests.conftest import free_port

ANN = Actor("cli:ann@here", Source.CLI)


def test_a_token_is_kept_without_its_secret(engine: Engine) -> None:
    """What was asked for comes back; of the secret only its SHA-256 is in the database."""
    tokens = Tokens(engine)
    expires = datetime.now(UTC) + timedelta(days=1)
    with acting_as(ANN):
        made, secret = tokens.create(
            [Right.SCORE, Right.READ], models=["wine", "beer"], expires_at=expires, note="till"
        )
    assert tokens.all() == tokens.in_force() == [made]
    assert (made.rights, made.models) == ({Right.SCORE, Right.READ}, {"wine", "beer"})
    assert (made.expires_at, made.note, made.created_by, made.revoked_at) == (expires, "till", ANN.name, None)
    assert (made.id, made.sha256) == (token_id(secret), token_digest(secret))
    with engine.connect() as connection:
        row = connection.execute(text("SELECT CAST(token AS text) FROM mlflow_ext.token")).scalar_one()
    assert secret[-43:] not in row


def test_a_token_without_models_is_for_all(engine: Engine) -> None:
    """No limit is not an empty limit, which is refused, as is a token without rights."""
    tokens = Tokens(engine)
    assert tokens.create([Right.ADMIN])[0].models is None
    for rights, models in (([], None), ([Right.SCORE], [])):
        with pytest.raises(InvalidInputError, match="at least one"):
            tokens.create(rights, models=models)
    assert len(tokens.all()) == 1


def test_an_expiry_lies_ahead(engine: Engine) -> None:
    """A token that has expired before it was made is a slip of its maker."""
    with pytest.raises(InvalidInputError, match="expired already"):
        Tokens(engine).create([Right.SCORE], expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert Tokens(engine).all() == []


def test_revoking_is_for_ever_and_may_be_repeated(engine: Engine) -> None:
    """The first revocation stands; an unknown id is said to be unknown."""
    tokens = Tokens(engine)
    made, _ = tokens.create([Right.SCORE])
    with acting_as(ANN):
        first = tokens.revoke(made.id)
    assert (first.state(datetime.now(UTC)), first.revoked_by) == (TokenState.REVOKED, ANN.name)
    assert tokens.revoke(made.id) == first
    with pytest.raises(NotFoundError, match="token list"):
        tokens.revoke("0123456789abcdef")


def test_whoever_listens_is_told_at_once(engine: Engine, database_url: str) -> None:
    """Making and revoking a token notify, with its id."""
    notifications = PgNotifications(database_url, channels=(CHANNEL,))
    with notifications.listen(30) as news:
        assert next(news) is None
        made, _ = Tokens(engine).create([Right.SCORE])
        assert next(news) == made.id
        Tokens(engine).revoke(made.id)
        assert next(news) == made.id
    notifications.close()


def test_any_change_shows_in_the_fingerprint(engine: Engine) -> None:
    """Making, changing by hand, revoking, deleting: each gives another; looking gives the same."""
    tokens = Tokens(engine)
    seen = [tokens.fingerprint()]

    def changed() -> None:
        seen.append(tokens.fingerprint())
        assert seen[-1] == tokens.fingerprint()

    made, _ = tokens.create([Right.SCORE])
    changed()
    for statement in (
        "UPDATE mlflow_ext.token SET rights = '{read}'",
        "UPDATE mlflow_ext.token SET models = '{wine}'",
        "UPDATE mlflow_ext.token SET expires_at = clock_timestamp()",
        "UPDATE mlflow_ext.token SET sha256 = 'x'",
    ):
        with engine.begin() as connection:
            connection.execute(text(statement))
        changed()
    tokens.revoke(made.id)
    changed()
    assert len(set(seen)) == len(seen)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM mlflow_ext.token"))
    assert tokens.fingerprint() == seen[0]


def test_the_audit_trail_tells_who_made_and_revoked_it(engine: Engine) -> None:
    """One entry each, once, in the chain that is about no model; the trail stays whole, and knows no secret."""
    tokens, trail = Tokens(engine), SqlAudit(engine)
    with acting_as(ANN):
        made, secret = tokens.create([Right.SCORE], models=["wine"])
        tokens.revoke(made.id)
        tokens.revoke(made.id)
    told = [entry for entry in trail.entries("") if entry.action.startswith("token:")]
    assert [(entry.action, entry.actor) for entry in told] == [
        ("token:created", ANN.name),
        ("token:revoked", ANN.name),
    ]
    assert made.id in told[0].details
    assert "wine" in told[0].details
    assert secret[-43:] not in "".join(entry.details for entry in told)
    assert trail.verify() == []


def test_scoring_processes_forget_what_ended_long_ago(engine: Engine) -> None:
    """For a month the owner is told why; after that the token is unknown, while the list keeps its story."""
    tokens = Tokens(engine)
    kinds = {name: tokens.create([Right.SCORE])[0].id for name in ("lately", "long ago", "expired", "good")}
    change = "UPDATE mlflow_ext.token SET {} = clock_timestamp() - CAST(:ago AS interval) WHERE id = :id"
    with engine.begin() as connection:
        for kind, column, ago in (
            ("lately", "revoked_at", "29 days"),
            ("long ago", "revoked_at", "31 days"),
            ("expired", "expires_at", "31 days"),
        ):
            connection.execute(text(change.format(column)), {"ago": ago, "id": kinds[kind]})
    assert {token.id for token in tokens.in_force()} == {kinds["lately"], kinds["good"]}
    assert len(tokens.all()) == 4


def test_a_right_of_a_newer_version_allows_nothing_here(engine: Engine) -> None:
    """While versions are mixed, an unknown right is left out and the known ones hold."""
    tokens = Tokens(engine)
    tokens.create([Right.SCORE])
    with engine.begin() as connection:
        connection.execute(text("UPDATE mlflow_ext.token SET rights = rights || '{fly}'"))
    assert tokens.in_force()[0].rights == {Right.SCORE}


def test_an_impatient_engine_gives_up(database_url: str) -> None:
    """A reading that takes too long ends as unavailable, as does a server that is not there."""
    impatient = make_engine(database_url, answer_within_s=0.2)
    with pytest.raises(UnavailableError, match="timeout"), translated(), impatient.connect() as connection:
        connection.execute(text("SELECT pg_sleep(10)"))
    impatient.dispose()
    nowhere = make_engine(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing", answer_within_s=1)
    with pytest.raises(UnavailableError):
        Tokens(nowhere).in_force()
    nowhere.dispose()
