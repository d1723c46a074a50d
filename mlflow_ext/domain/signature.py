"""A model's signature as clients see it, and what a change of it means to them. The gate: `gates/signature.py`."""

from dataclasses import dataclass
from typing import Any

WIDER = {
    "integer": frozenset({"long", "double"}),
    "long": frozenset({"double"}),
    "float": frozenset({"double"}),
}
"""Types that hold every value of another one, so that MLflow takes such input without a word."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: Its name; the position as text where columns have none.
        type: MLflow's word (`double`, `long`, `string` …), or `tensor(float64, (-1, 3))`.
        required: Whether a request must have it.
    """

    name: str
    type: str
    required: bool = True

    def __str__(self) -> str:
        return self.type if self.required else f"{self.type} (optional)"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives; `outputs` is empty where the signature does not say."""

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two signatures.

    Attributes:
        side: `input` or `output`.
        column: Name of the column.
        before: What it was, `None` for an added one.
        after: What it is, `None` for a removed one.
        breaks: Whether clients of the former signature notice.
    """

    side: str
    column: str
    before: str | None
    after: str | None
    breaks: bool

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.side} column '{self.column}' ({self.after}) was added"
        if self.after is None:
            return f"{self.side} column '{self.column}' ({self.before}) was removed"
        return f"{self.side} column '{self.column}' was {self.before} and is {self.after}"

    def as_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form."""
        return {
            "side": self.side,
            "column": self.column,
            "before": self.before,
            "after": self.after,
            "breaks": self.breaks,
        }


def changes(before: Signature, after: Signature) -> list[Change]:
    """Compare two signatures from the point of view of clients that know the first.

    A request that the first takes is taken by the second as well unless a column is newly required or its type no
    longer holds the old values; columns that are no longer asked for do not disturb. Any change of the outputs is
    noticed, unless the first did not say what it gives.
    """
    found = []
    old, new = ({column.name: column for column in one.inputs} for one in (before, after))
    for name in [*old, *(name for name in new if name not in old)]:
        one, other = old.get(name), new.get(name)
        if one == other:
            continue
        if other is None:
            breaks = False
        elif one is None:
            breaks = other.required
        else:
            newly_required = other.required and not one.required
            breaks = newly_required or (one.type != other.type and other.type not in WIDER.get(one.type, ()))
        found.append(Change("input", name, str(one) if one else None, str(other) if other else None, breaks))
    if before.outputs and before.outputs != after.outputs:
        gave, gives = ({column.name: column for column in one.outputs} for one in (before, after))
        found += [
            Change("output", name, _type(gave.get(name)), _type(gives.get(name)), breaks=True)
            for name in [*gave, *(name for name in gives if name not in gave)]
            if gave.get(name) != gives.get(name)
        ]
    return found


def _type(column: Column | None) -> str | None:
    return str(column) if column else None
