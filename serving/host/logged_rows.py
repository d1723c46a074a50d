"""Reading the newest logged requests of a model, for the version that is being opened to predict them.

They are read beside the fetching of the version's files, on a thread of their own, and only waited for so long: what
cannot be read in time is not predicted. What becomes of them: `warming.py`; which files hold them, the scoring process
says.
"""

import logging
import threading
import time
from collections.abc import Sequence

import pandas as pd

from mlflow_ext.errors import UnavailableError
from mlflow_ext.store.segment_files import INPUT, META, part, read_newest

logger = logging.getLogger(__name__)


class LoggedRows:
    """The newest logged requests, as they are being read."""

    def __init__(self, uris: Sequence[str], rows: int, within_s: float) -> None:
        """Begin to read.

        Args:
            uris: Segments, the newest first.
            rows: How many rows are wanted.
            within_s: How long it may take from now on: an object store may not answer.
        """
        self._uris = uris
        self._rows = rows
        self._within_s = within_s
        self._until = time.monotonic() + within_s
        self._found: list[pd.DataFrame] = []
        # whoever hangs in it hangs in it alone
        self._thread = threading.Thread(target=self._read, name="logged-rows", daemon=True)
        if uris and rows:
            self._thread.start()

    def requests(self) -> list[pd.DataFrame]:
        """Give the inputs of each request, the newest first; nothing where they cannot be had in time."""
        if self._thread.ident is None:
            return []
        self._thread.join(max(0.0, self._until - time.monotonic()))
        if self._thread.is_alive():
            logger.warning("event=logged_requests_not_read reason='it takes longer than %g s'", self._within_s)
            return []
        return self._found

    def _read(self) -> None:
        found: list[pd.DataFrame] = []
        left = self._rows
        try:
            for uri in self._uris:
                if left <= 0:
                    break
                try:
                    table = read_newest(uri, left)
                # merged into another, which is younger and was not named: others will do
                except FileNotFoundError:
                    continue
                found += _by_request(part(table, META), part(table, INPUT))
                left -= len(table)
        except UnavailableError as exc:
            logger.warning("event=logged_requests_not_read reason=%r", str(exc))
        # a file that is no segment, too little memory: a version can be loaded without
        except Exception as exc:
            logger.warning("event=logged_requests_not_read reason=%r", f"{type(exc).__name__}: {str(exc)[:200]}")
        self._found = found


def _by_request(meta: pd.DataFrame, inputs: pd.DataFrame) -> list[pd.DataFrame]:
    """Take rows apart by the request that they came in."""
    if not len(inputs.columns):
        # policy drops all of them
        return []
    # the same id may have been given twice
    change = (meta["request_id"] != meta["request_id"].shift()) | (meta["at"] != meta["at"].shift())
    return [rows.reset_index(drop=True) for _, rows in inputs.groupby(change.cumsum().to_numpy(), sort=True)]
