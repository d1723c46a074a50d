"""What every part of a policy is made of. The parts themselves are in `policy.py` and beside it."""

from typing import Annotated
from zoneinfo import ZoneInfo

from croniter import croniter
from pydantic import AfterValidator, BaseModel, ConfigDict


def _cron(text: str) -> str:
    if not croniter.is_valid(text):
        raise ValueError("not a cron expression; five fields, such as '0 6 * * *', or six with seconds last")
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    # a name may also be no file's name, or a directory's
    except (KeyError, ValueError, OSError):
        raise ValueError("not a time zone; IANA names such as 'Europe/Rome' are") from None
    return name


Cron = Annotated[str, AfterValidator(_cron)]
TimeZone = Annotated[str, AfterValidator(_zone)]


class Section(BaseModel):
    """A part of a policy: unknown keys are mistakes, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
