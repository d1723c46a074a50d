"""Signatures: which changes clients notice."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ext.domain.signature import WIDER, Column, Signature, changes

types = st.sampled_from(["boolean", "integer", "long", "float", "double", "string", "datetime"])
columns = st.dictionaries(st.sampled_from("abcdef"), st.tuples(types, st.booleans()), max_size=6).map(
    lambda named: tuple(Column(name, kind, required) for name, (kind, required) in named.items())
)
signatures = st.builds(Signature, columns, columns)


def takes(one: Column, other: Column | None) -> bool:
    """Whether every value of a column goes into another one, said another way."""
    holds = {"integer": 1, "long": 2, "double": 3}
    if other is None or one.type == other.type or (one.type, other.type) == ("float", "double"):
        return True
    return one.type in holds and other.type in holds and holds[one.type] < holds[other.type]


@given(signatures)
def test_nothing_changes_by_itself(signature: Signature) -> None:
    """The same signature has no changes, nor has the same in another order."""
    assert changes(signature, signature) == []
    turned = Signature(signature.inputs[::-1], signature.outputs)
    assert changes(signature, turned) == []


@given(signatures, signatures)
def test_an_input_breaks_exactly_when_some_request_would_be_refused(before: Signature, after: Signature) -> None:
    """Every request that the first signature takes, all columns or only the required ones, is taken by the second."""
    wanted = {column.name: column for column in after.inputs}

    def refused(sent: tuple[Column, ...]) -> bool:
        names = {column.name for column in sent}
        missing = any(column.required and column.name not in names for column in after.inputs)
        return missing or not all(takes(column, wanted.get(column.name)) for column in sent)

    required = tuple(column for column in before.inputs if column.required)
    broken = any(change.breaks for change in changes(before, after) if change.side == "input")
    assert broken == (refused(before.inputs) or refused(required))


@given(signatures, columns)
def test_any_change_of_a_known_output_is_noticed(before: Signature, outputs: tuple[Column, ...]) -> None:
    """What clients read must stay; a signature that did not say what it gives promised nothing."""
    found = [one for one in changes(before, replace(before, outputs=outputs)) if one.side == "output"]
    assert all(change.breaks for change in found)
    named = ({column.name: column for column in before.outputs}, {column.name: column for column in outputs})
    assert bool(found) == (bool(before.outputs) and named[0] != named[1])


def test_a_change_is_told_in_words() -> None:
    """Added, removed, changed: a sentence each."""
    before = Signature((Column("a", "double"), Column("b", "long")), (Column("0", "long"),))
    after = Signature((Column("a", "float"), Column("c", "string", required=False)), (Column("0", "double"),))
    assert [str(change) for change in changes(before, after)] == [
        "input column 'a' was double and is float",
        "input column 'b' (long) was removed",
        "input column 'c' (string (optional)) was added",
        "output column '0' was long and is double",
    ]


@pytest.mark.parametrize(("narrow", "wide"), [(a, b) for a, more in WIDER.items() for b in sorted(more)])
def test_a_wider_type_is_not_noticed_and_a_narrower_one_is(narrow: str, wide: str) -> None:
    """Values of the narrow type fit into the wide one, not the other way round."""
    one, other = Signature((Column("a", narrow),)), Signature((Column("a", wide),))
    assert [change.breaks for change in changes(one, other)] == [False]
    assert [change.breaks for change in changes(other, one)] == [True]
