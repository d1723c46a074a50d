"""Reading: alone, and of one moment."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine, text

from mlflow_ext.errors import UnavailableError
from mlflow_ext.store.engine import make_engine, moment, reading
from mlflow_ext.store.events import SqlEventLog
from mlflow_ext.store.pointers import SqlPointers
from mlflow_ext.store.registry_view import SqlRegistryView


def test_a_moment_holds_what_every_port_reads(client: MlflowClient, engine: Engine) -> None:
    """Versions, events and pointers stay as they were when it began; other threads see changes, and so do we later."""
    view, log, pointers = SqlRegistryView(engine), SqlEventLog(engine), SqlPointers(engine)

    def seen() -> tuple[int, int, bool]:
        return len(view.versions("wine")), len(log.latest("wine")), pointers.get("wine") is not None

    with view.moment():
        assert seen() == (1, 0, False)
        client.create_model_version("wine", "s3://bucket/model")
        client.set_model_version_tag("wine", "1", "stage", "Production")
        # what is written inside goes its own way
        assert pointers.move("wine", 1, seen_generation=0, reason="test").generation == 1
        assert seen() == (1, 0, False)
        with ThreadPoolExecutor(1) as other:
            assert other.submit(seen).result() == (2, 1, True)
        with view.moment():
            assert seen() == (2, 1, True)
        assert seen() == (1, 0, False)
    assert seen() == (2, 1, True)


def test_a_moment_of_one_database_is_none_of_another(engine: Engine) -> None:
    """Who reads from another database inside reads from that."""
    other = make_engine(engine.url.set(database="postgres").render_as_string(hide_password=False))
    named = text("SELECT current_database()")
    with moment(engine), reading(engine) as ours, reading(other) as theirs:
        assert ours.execute(named).scalar_one() == engine.url.database
        assert theirs.execute(named).scalar_one() == "postgres"
    other.dispose()


def test_reading_alone_needs_no_transaction(engine: Engine) -> None:
    """No statement but its own; what others commit between two statements is seen by the second."""
    with reading(engine) as connection:
        before = connection.execute(text("SELECT txid_current()")).scalar_one()
        assert connection.execute(text("SELECT txid_current()")).scalar_one() > before
    with moment(engine), reading(engine) as connection:
        before = connection.execute(text("SELECT txid_current()")).scalar_one()
        assert connection.execute(text("SELECT txid_current()")).scalar_one() == before


def test_a_connection_comes_back_as_it_was(engine: Engine) -> None:
    """After reading, a write that is given up is still undone."""
    with reading(engine) as connection:
        connection.execute(text("SELECT 1"))
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE left_behind (id int)"))
        connection.rollback()
    with reading(engine) as connection:
        assert connection.execute(text("SELECT to_regclass('left_behind')")).scalar_one() is None


def test_a_lost_database_is_said() -> None:
    """In both forms."""
    nowhere = make_engine("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(UnavailableError), reading(nowhere):
        pass
    with pytest.raises(UnavailableError), moment(nowhere):
        pass
