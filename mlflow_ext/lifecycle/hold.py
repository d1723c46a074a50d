"""Holding a claimed promotion while it is worked on: the lease is renewed, and losing it is noticed."""

import logging
import threading
from types import TracebackType
from typing import Self

from mlflow_ext.domain.promotion import Promotion
from mlflow_ext.errors import UnavailableError
from mlflow_ext.ports import Promotions

_log = logging.getLogger(__name__)

_RENEWALS_PER_LEASE = 4


class Hold:
    """A context in which a thread of its own renews the lease.

    Attributes:
        lost: Set once the promotion is no longer ours: taken over, or ended by somebody else.
    """

    def __init__(self, promotions: Promotions, promotion: Promotion, lease_s: float) -> None:
        """Take the store, a promotion as `claim` gave it, and the seconds a lease lasts."""
        self.lost = threading.Event()
        self._promotions = promotions
        self._promotion = promotion
        self._every_s = lease_s / _RENEWALS_PER_LEASE
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"hold-{promotion.id}", daemon=True)

    def __enter__(self) -> Self:
        """Begin to renew."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop renewing; the lease itself ends by what the work recorded, or by time."""
        self._over.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                if not self._promotions.renew(self._promotion):
                    self.lost.set()
                    return
            except UnavailableError as exc:
                # whoever takes it over meanwhile raises the attempt, and our writes are refused
                _log.warning("lease_not_renewed promotion=%s reason=%r", self._promotion.id, str(exc))
