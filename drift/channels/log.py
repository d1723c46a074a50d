"""Alerts as log lines: one a line, with ids."""

import logging

from mlflow_ext.domain.alerts import Notice

_log = logging.getLogger(__name__)


def send(notice: Notice) -> None:
    """Write a line for each alert of a message."""
    for told in notice.told:
        one = told.alert
        _log.warning(
            "alert id=%d state=%s model=%s version=%s kind=%s severity=%s check=%s run=%s seen=%d message=%s",
            *(one.id, told.state.value, one.model, one.version, one.kind, one.severity),
            *(one.check_id, one.run_id, one.seen, one.message),
        )
