"""The `Notifications` port: LISTEN, with the polling safety net for what a notification misses.

A notification only wakes its consumer up; what is true then is read through `registry_view.py` and `pointers.py`.
"""

import logging
import os
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812  (psycopg2 names its class in lower case)
from sqlalchemy.engine import make_url

from mlflow_ext.config import normalise_database_url
from mlflow_ext.store import pointers, triggers

_log = logging.getLogger(__name__)

_FIRST_RETRY_S = 0.1
_LAST_RETRY_S = 5.0
# a server that vanished without a word (cable, power) is noticed in about 30 s, not after the kernel's two hours
_CONNECTING = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
}


class PgNotifications:
    """Names of models whose registry entry or serving pointer moved; or what other channels tell."""

    def __init__(
        self,
        database_url: str,
        *,
        name: str = "mlflow-ext listen",
        channels: Sequence[str] = (triggers.CHANNEL, pointers.CHANNEL),
    ) -> None:
        """Take the database URL, the name under which PostgreSQL shows the connection, and what to listen to."""
        self._channels = channels
        url = make_url(normalise_database_url(database_url)).set(drivername="postgresql")
        url = url.update_query_dict({**_CONNECTING, "application_name": name})
        self._dsn = url.render_as_string(hide_password=False)
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)

    def wake(self) -> None:
        """End the present wait at once; safe to call from a signal handler or another thread."""
        with suppress(BlockingIOError):  # a full pipe wakes as well as one more byte
            os.write(self._wake, b"w")

    def close(self) -> None:
        """Give the pipe back; call it when no iterator is in use any more."""
        for descriptor in (self._woken, self._wake):
            with suppress(OSError):  # closed before
                os.close(descriptor)

    @contextmanager
    def listen(self, timeout_s: float) -> Iterator[Iterator[str | None]]:
        """Yield model names as they change, each once a burst, and `None` when everything is to be looked at.

        `None` comes first, after every (re)connection, after `wake()`, and when `timeout_s` passed without news. While
        PostgreSQL is away it comes at every attempt to reconnect, at most 5 s apart.
        """
        session = _Session(self._dsn, self._channels, self._woken)
        try:
            yield session.news(timeout_s)
        finally:
            session.close()


class _Session:
    """One consumer's connection, replaced whenever it is lost."""

    def __init__(self, dsn: str, channels: Sequence[str], woken: int) -> None:
        self._dsn = dsn
        self._channels = channels
        self._woken = woken
        self._connection: PgConnection | None = None
        self._retry_s = _FIRST_RETRY_S

    def news(self, timeout_s: float) -> Iterator[str | None]:
        while True:
            if self._connection is None and not self._connect():
                yield from self._away(timeout_s)
                continue
            # what changed before LISTEN took effect was notified to nobody
            yield None
            while self._connection is not None:
                try:
                    yield from self._wait(self._connection, timeout_s)
                except psycopg2.Error as exc:
                    _log.warning("listen_connection_lost error=%r", str(exc).strip())
                    self.close()

    def close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg2.Error):  # it may be broken already
                self._connection.close()
        self._connection = None

    def _connect(self) -> bool:
        try:
            connection = psycopg2.connect(self._dsn)
            connection.autocommit = True
            with connection.cursor() as cursor:
                for channel in self._channels:
                    cursor.execute(f"LISTEN {channel}")
        except psycopg2.Error as exc:
            _log.warning("listen_connection_refused error=%r retry_s=%s", str(exc).strip(), self._retry_s)
            return False
        self._connection = connection
        self._retry_s = _FIRST_RETRY_S
        return True

    def _away(self, timeout_s: float) -> Iterator[str | None]:
        """Wait for the next attempt to connect."""
        if self._readable(min(self._retry_s, timeout_s)):
            self._drain()
        self._retry_s = min(self._retry_s * 2, _LAST_RETRY_S)
        yield None

    def _wait(self, connection: PgConnection, timeout_s: float) -> Iterator[str | None]:
        if not connection.notifies:
            ready = self._readable(timeout_s, connection.fileno())
            if self._woken in ready:
                self._drain()
                yield None
            if not ready:
                # a silent connection may be a dead one
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
                yield None
        connection.poll()
        # a burst about one model is one piece of news
        names = dict.fromkeys(notification.payload for notification in connection.notifies)
        connection.notifies.clear()
        yield from names

    def _readable(self, timeout_s: float, *descriptors: int) -> set[int]:
        # poll, not select: a busy scoring process may have more than 1,024 descriptors
        waiting = select.poll()
        for descriptor in (self._woken, *descriptors):
            waiting.register(descriptor, select.POLLIN)
        return {descriptor for descriptor, _ in waiting.poll(timeout_s * 1000)}

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._woken, 4096):
                pass
