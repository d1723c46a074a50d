"""How much each input column counts for a model, by the model's own word. Where the word comes from: `registry/`."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class ColumnImportance:
    """What a model says about its input columns.

    Attributes:
        columns: Share of each column, 0 to 1, together 1; columns that are not named count for nothing. Empty where
            the model does not say.
        source: What said so; or why nothing did.
    """

    columns: Mapping[str, float] = field(default_factory=dict)
    source: str = ""

    @property
    def known(self) -> bool:
        """Whether the model says anything."""
        return bool(self.columns)

    def to_json(self) -> str:
        """Give a document for the version's run."""
        return json.dumps({"source": self.source, "columns": dict(self.columns)}, indent=2)

    @classmethod
    def from_json(cls, content: bytes) -> "ColumnImportance | None":
        """Read what `to_json` gave; `None` for anything else. Whoever may write to a run may write such a file."""
        try:
            document = json.loads(content)
            return cls.of(document["columns"], str(document["source"])[:500])
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    @classmethod
    def of(cls, weights: Mapping[str, float], source: str) -> "ColumnImportance":
        """Make shares of numbers in any unit.

        Args:
            weights: Per column, none below 0; without any there is nothing known.
            source: What said so; or why nothing did.

        Raises:
            ValueError: A number is negative or not finite.
            TypeError: Something is no number.
        """
        numbers = {str(name): float(value) for name, value in weights.items()}
        if any(not math.isfinite(value) or value < 0 for value in numbers.values()):
            raise ValueError(f"importances are finite and not below 0, not {dict(weights)}")
        total = sum(numbers.values())
        if not total:
            return cls({}, source if not numbers else f"{source}: 0 for every column")
        return cls({name: value / total for name, value in numbers.items()}, source)


def importance_file(source: str | None) -> str:
    """Name the file in a version's run that says what its model says; several versions may share a run.

    Args:
        source: Where the version's model is, as the registry names it.
    """
    return f"mlflow-ext/drift/importance-{sha256((source or '').encode()).hexdigest()[:16]}.json"
