"""Approvals: how many people a promotion waits for, who counts as one, and who may not. Pure rules.

They are given in one transaction with their effect (`store/approvals.py`); the verbs are in `lifecycle/decide.py`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlflow_ext.domain.actors import Source
from mlflow_ext.domain.gates import GateReport, Importance
from mlflow_ext.domain.promotion import PromotionEvent
from mlflow_ext.errors import GateRefusedError

GATE = "approval"
"""The gate whose result says how many people have to agree."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a waiting promotion needs.

    Attributes:
        people: So many people have to agree.
        four_eyes: None of them may be the version's author.
    """

    people: int = 1
    four_eyes: bool = False


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's word.

    Attributes:
        person: Who, whatever way the word came by.
        actor: The same as the audit trail names it, with the way.
        comment: What they said.
        at: When.
    """

    person: str
    actor: str
    comment: str = ""
    at: datetime | None = None


def requirement(report: dict[str, Any] | None) -> Requirement:
    """Read from a gates' report what it asks for; one person where only a gate's doubt has to be settled."""
    results = GateReport.from_dict(report).results if report and "results" in report else ()
    asked = [one.details for one in results if one.gate == GATE and one.importance is Importance.CRITICAL]
    return Requirement(
        people=max((int(details.get("people", 1)) for details in asked), default=1),
        four_eyes=any(details.get("four_eyes", False) for details in asked),
    )


def person_of(actor: str) -> str | None:
    """Give the person behind an actor's name; `None` for a robot, and for somebody who is not known.

    `cli:alice@host` and `rest:alice` are MLflow's user `alice`; a name that holds an `@` itself stays whole.
    """
    source, colon, name = actor.partition(":")
    if not colon:
        name = actor
    elif source in {Source.ROBOT.value, Source.SQL.value}:
        return None
    elif source in {Source.CLI.value, Source.PYTHON.value}:
        name = name.rpartition("@")[0] or name
    elif source not in {one.value for one in Source}:
        name = actor
    name = name.strip().casefold()
    unknown = name in {"", "unknown", "anonymous"} or name.startswith(("anonymous@", "token "))
    return None if unknown else name


def effect(
    needs: Requirement, given: Sequence[Approval], actor: str, authors: Iterable[str]
) -> tuple[PromotionEvent, str] | None:
    """Say what one more word does.

    Args:
        needs: What the promotion waits for.
        given: The words it has.
        actor: Who agrees now.
        authors: Who made the version or asked for the promotion, as actors; empty where nobody knows.

    Returns:
        The event and who is counted; `None` when this person has agreed already.

    Raises:
        GateRefusedError: This person's word does not count.
    """
    person = person_of(actor)
    people = needs.people
    if needs.four_eyes:
        known = {one for one in map(person_of, authors) if one is not None}
        if person is None:
            raise GateRefusedError(
                f"the policy asks for four eyes, and '{actor}' names no person: approve on the command line, or with a "
                "token that was made with --owner"
            )
        if person in known:
            raise GateRefusedError(
                f"the policy asks for four eyes, and {person} made this version or asked for its promotion: somebody "
                "else has to approve it"
            )
        if not known:
            # two people: one of them at least is not the author, whoever that is
            people = max(people, 2)
    counted = person or actor
    if any(one.person == counted for one in given):
        return None
    reached = len(given) + 1 >= people
    return (PromotionEvent.APPROVED if reached else PromotionEvent.AGREED), counted


def words(given: Sequence[Approval]) -> str:
    """Say who agreed, and what they said."""
    return ", ".join(f"{one.person} ({one.comment})" if one.comment else one.person for one in given)
