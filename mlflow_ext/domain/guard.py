"""The guard: who may bring a version to Production. How it is held is in `store/guard_functions.py`, in the database.

A version may go there when a promotion of it has passed its gates or was overridden, and by no other way.
"""

from enum import StrEnum

STORE_SETTING = "mlflow_ext.store"
"""Setting of a transaction that our registry store opened; plain SQL and other servers do not have it."""
REFUSED = "MX403"
"""SQLSTATE of a change that the guard refuses."""
NOT_AUDITED = "MX503"
"""SQLSTATE of a change of a guarded model that could not be written into the audit trail, and is undone for that."""


class GuardMode(StrEnum):
    """What happens with a version that goes to Production without a passed promotion."""

    OFF = "off"
    WARN = "warn"
    ENFORCE = "enforce"
