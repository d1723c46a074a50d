"""Keeps the authority's tokens fresh: reads them every other second, and at once when told. Judging: `authority.py`.

The poll alone bounds how long a revoked token works, whatever happens to notifications; they let a token that was just
made work at once.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from mlflow_ext.config import Settings
from mlflow_ext.domain.tokens import Token
from mlflow_ext.errors import UnavailableError
from mlflow_ext.ports import Notifications
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.notifications import PgNotifications
from mlflow_ext.store.tokens import CHANNEL, Tokens
from serving.authority import Authority
from serving.token_file import TokenFile

logger = logging.getLogger(__name__)

EVERY_S = 1.0
"""Between two readings; with the limit on their statements a revocation is known everywhere within 5 s."""
ANSWER_WITHIN_S = 1.5
"""How long one statement may take; a reading has two at most."""
_SILENCE_S = 30.0


class Source(Protocol):
    """Where the tokens are (`store/tokens.py`)."""

    def fingerprint(self) -> str:
        """Give something that changes whenever a token does."""
        ...

    def in_force(self) -> Sequence[Token]:
        """Give the tokens."""
        ...


class TokenWatch:
    """Reads the tokens from `start` to `stop`; while PostgreSQL is away, those of the last reading stay in force."""

    def __init__(
        self,
        authority: Authority,
        source: Source,
        notifications: Notifications,
        file: TokenFile,
        *,
        every_s: float = EVERY_S,
    ) -> None:
        """Take whom to bring the tokens, where they are, what tells that they changed, and where to keep them."""
        self._authority = authority
        self._source = source
        self._file = file
        self._seen: str | None = None
        self._notifications = notifications
        self._every_s = every_s
        self._failing = False
        self._news = threading.Event()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name="tokens", daemon=True),
            # a thread of its own: a dead connection may hold it up, and must not hold up the reading
            threading.Thread(target=self._listen, name="tokens-listen", daemon=True),
        ]

    def start(self) -> None:
        """Read once, then go on reading; what cannot be read now is as it was kept on this machine."""
        self.look()
        if not self._authority.is_ready and (kept := self._file.read()) is not None:
            self._authority.renew(kept)
            logger.warning("event=tokens_from_file path=%r", str(self._file.path))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        self._news.set()
        self._notifications.wake()
        for thread in self._threads:
            thread.join(2 * ANSWER_WITHIN_S + 1)

    def look(self) -> None:
        """Read once."""
        try:
            self._follow()
        except UnavailableError as exc:
            if not self._failing:
                logger.warning("event=tokens_unread reason=%r", str(exc))
            self._failing = True
        # whatever it is: a thread that ended here would let revoked tokens work for ever
        except Exception:
            logger.exception("event=tokens_unread")
            self._failing = True
        else:
            self._failing = False

    def _follow(self) -> None:
        # before the tokens: what changes between the two is read next time
        fingerprint = self._source.fingerprint()
        if fingerprint != self._seen:
            tokens = self._source.in_force()
            self._authority.renew(tokens)
            self._file.write(tokens)
            self._seen = fingerprint
            logger.info("event=tokens_read count=%d", len(tokens))
        elif self._failing:
            logger.info("event=tokens_read_again")

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._news.wait(self._every_s)
            self._news.clear()
            if not self._stopped.is_set():
                self.look()

    def _listen(self) -> None:
        with self._notifications.listen(_SILENCE_S) as news:
            for what in news:
                if self._stopped.is_set():
                    return
                # silence and lost connections are the poll's business
                if what is not None:
                    self._news.set()


@contextmanager
def watched_authority(settings: Settings) -> Iterator[Authority]:
    """Make the authority, and keep its tokens fresh until the end."""
    if settings.auth_at(settings.serving_host) == "none":
        yield Authority(open_to_all=True)
        return
    url = settings.require_database_url()
    # a connection of its own: waiting for one of the shared ones would let revoked tokens work longer
    engine = make_engine(url, name="mlflow-ext tokens", pool_size=1, answer_within_s=ANSWER_WITHIN_S)
    notifications = PgNotifications(url, name="mlflow-ext tokens listen", channels=(CHANNEL,))
    authority = Authority()
    watch = TokenWatch(authority, Tokens(engine), notifications, TokenFile(settings.data_dir / "tokens.json"))
    watch.start()
    try:
        yield authority
    finally:
        watch.stop()
        engine.dispose()
