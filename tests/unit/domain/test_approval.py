"""Approvals: how many, by whom, and what one more word does."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ext.domain.approval import Approval, Requirement, effect, person_of, requirement, words
from mlflow_ext.domain.gates import GateReport, GateResult, Importance, Verdict
from mlflow_ext.domain.promotion import PromotionEvent
from mlflow_ext.errors import GateRefusedError


def asked(importance: Importance = Importance.CRITICAL, **details: Any) -> GateResult:
    """What the gate `approval` says."""
    return GateResult("approval", "", Verdict.INCONCLUSIVE, "", importance=importance, details=details)


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([], Requirement()),
        ([GateResult("metric", "auc", Verdict.INCONCLUSIVE, "too few rows")], Requirement()),
        ([asked(people=2, four_eyes=False)], Requirement(2)),
        ([asked(people=1, four_eyes=True), asked(people=2)], Requirement(2, four_eyes=True)),
        ([asked(Importance.ADVISORY, people=2, four_eyes=True)], Requirement()),
    ],
)
def test_the_report_says_how_many_people_are_needed(results: Sequence[GateResult], expected: Requirement) -> None:
    """The strictest critical approval gate counts; doubt of another gate takes one person."""
    assert requirement(GateReport(tuple(results)).as_dict()) == expected


def test_without_a_report_one_person_is_needed() -> None:
    """A model without gates waits for one."""
    assert requirement(None) == requirement({"verdict": "passed"}) == Requirement()


@pytest.mark.parametrize(
    ("actor", "person"),
    [
        ("cli:alice@host", "alice"),
        ("python:Alice@host.example", "alice"),
        ("cli:alice@example.com@host", "alice@example.com"),
        ("rest:alice@example.com", "alice@example.com"),
        ("alice", "alice"),
        ("alice@example.com", "alice@example.com"),
        ("corp:alice", "corp:alice"),
        ("robot:promotion-worker", None),
        ("sql:postgres", None),
        ("anonymous@10.0.0.1", None),
        ("rest:token 3f0c9a51d2b7e846", None),
        ("", None),
    ],
)
def test_a_person_is_the_same_by_every_way(actor: str, person: str | None) -> None:
    """Command line, REST, Python and MLflow's user name one person; robots and strangers are none."""
    assert person_of(actor) == person


def test_the_author_cannot_approve_with_four_eyes() -> None:
    """Whoever made the version or asked for it is refused, by whatever way they come; somebody else is enough."""
    needs = Requirement(four_eyes=True)
    with pytest.raises(GateRefusedError, match="alice made this version"):
        effect(needs, [], "rest:Alice", {"cli:alice@laptop"})
    with pytest.raises(GateRefusedError, match="names no person"):
        effect(needs, [], "rest:token 3f0c", {"alice"})
    assert effect(needs, [], "rest:bob", {"alice"}) == (PromotionEvent.APPROVED, "bob")


def test_four_eyes_with_an_unknown_author_take_two_people() -> None:
    """One of two people at least is not the author, whoever that is."""
    needs = Requirement(four_eyes=True)
    authors = {"anonymous@10.0.0.1", "robot:drift-scheduler"}
    assert effect(needs, [], "bob", authors) == (PromotionEvent.AGREED, "bob")
    assert effect(needs, [Approval("bob", "bob")], "eve", authors) == (PromotionEvent.APPROVED, "eve")


@given(
    st.integers(1, 2),
    st.booleans(),
    st.sets(st.sampled_from(["alice", "bob", "eve", "dan"])),
    st.lists(st.sampled_from(["cli:alice@a", "rest:alice", "bob", "python:bob@b", "eve", "rest:dan"]), max_size=12),
)
def test_nobody_is_counted_twice_and_no_author_with_four_eyes(
    people: int, four_eyes: bool, authors: set[str], actors: list[str]
) -> None:
    """For every order of words: so many different people, none of them an author where four eyes are asked for."""
    needs = Requirement(people, four_eyes=four_eyes)
    counted: list[Approval] = []
    approved = False
    for actor in actors:
        try:
            said = effect(needs, counted, actor, authors)
        except GateRefusedError:
            assert four_eyes
            assert person_of(actor) in authors
            continue
        if said is None:
            assert person_of(actor) in {one.person for one in counted}
            continue
        counted.append(Approval(said[1], actor))
        if said[0] is PromotionEvent.APPROVED:
            approved = True
            break
    who = {one.person for one in counted}
    assert len(who) == len(counted)
    assert not (four_eyes and who & authors)
    needed = max(people, 2) if four_eyes and not authors else people
    assert approved == (len(who) >= needed)


def test_words_name_people_and_what_they_said() -> None:
    """As the story and the version's tag show them."""
    assert words([Approval("bob", "bob", "fine"), Approval("eve", "eve")]) == "bob (fine), eve"
