"""The `Notifications` port: a change wakes its consumer up, silence does too, and a lost connection loses nothing."""

import itertools
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, text

from mlflow_ext.ports import Notifications
from mlflow_ext.store.notifications import PgNotifications
from mlflow_ext.store.pointers import SqlPointers
from mlflow_ext.testing import MemoryNotifications

Parts = tuple[Notifications, Callable[[str], object]]

_WAIT_S = 30.0


@pytest.fixture(params=["twin", "postgresql"])
def parts(request: pytest.FixtureRequest) -> Iterator[Parts]:
    """The port, and a way to notify."""
    if request.param == "twin":
        twin = MemoryNotifications()
        yield twin, twin.notify
        return
    pointers = SqlPointers(request.getfixturevalue("engine"))

    def move(model: str) -> None:
        pointer = pointers.get(model)
        pointers.move(model, 1, seen_generation=pointer.generation if pointer else 0, reason="test")

    notifications = PgNotifications(request.getfixturevalue("database_url"))
    yield notifications, move
    notifications.close()


def test_first_everything_then_names(parts: Parts) -> None:
    """A consumer looks at everything once it listens, then hears what moves."""
    notifications, notify = parts
    with notifications.listen(_WAIT_S) as news:
        assert next(news) is None
        notify("wine")
        assert next(news) == "wine"
        notify("beer")
        assert next(news) == "beer"


def test_silence_ends_after_the_timeout(parts: Parts) -> None:
    """Without news `None` comes again and again."""
    notifications, _ = parts
    with notifications.listen(0.01) as news:
        assert list(itertools.islice(news, 3)) == [None, None, None]


def test_wake_ends_the_wait(parts: Parts) -> None:
    """A consumer that is to stop need not wait for the timeout."""
    notifications, _ = parts
    with notifications.listen(_WAIT_S) as news:
        assert next(news) is None
        notifications.wake()
        assert next(news) is None


def test_a_burst_about_one_model_is_one_piece_of_news(database_url: str, engine: Engine) -> None:
    """Fifty moves while nobody listens closely are heard once for each model."""
    notifications = PgNotifications(database_url)
    with notifications.listen(_WAIT_S) as news:
        assert next(news) is None
        with engine.connect() as connection:
            for payload in ["wine", "beer"] * 25:
                connection.execute(text("SELECT pg_notify('mlflow_ext_registry', :p)"), {"p": payload})
                connection.commit()
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_notify('mlflow_ext_registry', 'last')"))
        heard = list(itertools.takewhile(lambda name: name != "last", news))
        assert set(heard) == {"wine", "beer"}
        assert len(heard) < 20
    notifications.close()


def test_a_lost_connection_comes_back_with_a_look_at_everything(database_url: str, engine: Engine) -> None:
    """PostgreSQL ends the session: the consumer is told to look, and hears later changes again."""
    notifications = PgNotifications(database_url, name="to-be-ended")
    with notifications.listen(_WAIT_S) as news:
        assert next(news) is None
        with engine.begin() as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'to-be-ended'")
            )
        assert next(news) is None
        SqlPointers(engine).move("wine", 1, seen_generation=0, reason="test")
        assert next(news) == "wine"
    notifications.close()


def test_while_postgresql_is_away_the_consumer_is_told_and_can_stop() -> None:
    """No server at the address: `None` comes at each attempt, no error."""
    notifications = PgNotifications("postgresql://nobody@127.0.0.1:9/nothing")
    with notifications.listen(0.01) as news:
        assert list(itertools.islice(news, 3)) == [None, None, None]
    notifications.close()
