"""What a process keeps on its machine for one that starts while PostgreSQL and MLflow are away: one file of JSON each.

What is in them: `token_file.py`, `last_served.py`. Who may write here could as well write the models beside it.
"""

import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


def keep(path: Path, document: Any) -> None:
    """Replace what was kept, readable for its owner only; where that is not possible, say so and go on.

    Several processes may write the same file, each the whole of it.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file)
        beside.replace(path)
    except OSError as exc:
        logger.warning("event=not_kept path=%r reason=%r", str(path), exc.strerror)
        with suppress(OSError):
            beside.unlink()


def kept(path: Path) -> Any | None:
    """Give what was kept; `None` when there is nothing, or nothing that is JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        logger.warning("event=kept_unread path=%r reason=%r", str(path), str(exc))
        return None
