"""The request id: the client's own when it is sane, else a fresh one. Where it is put on answers: `app.py`."""

import os
import re

_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def request_id(given: str | None) -> str:
    """Give the id under which a request is answered, logged and later given feedback."""
    if given is not None and _SANE.fullmatch(given):
        return given
    return os.urandom(16).hex()
