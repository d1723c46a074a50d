"""Which input column each feature comes from that a fitted scikit-learn step gives: names and places, no guessing.

What the features count for is read in `importance.py`.
"""

from collections.abc import Sequence
from typing import Any


class NotFollowedError(Exception):
    """Features of a step come from several columns, or it does not say from which."""


def followed(step: Any, owners: Sequence[str]) -> list[str]:
    """Give the input column of each feature after a step.

    Args:
        step: Fitted transformer, or `passthrough`.
        owners: Input column of each feature before it.

    Raises:
        NotFollowedError: That cannot be told.
    """
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return list(owners)
    if hasattr(step, "steps"):
        for _, one in step.steps:
            owners = followed(one, owners)
        return list(owners)
    if hasattr(step, "transformers_") and hasattr(step, "output_indices_"):
        return _side_by_side(step, owners)
    if hasattr(step, "transformer_list"):
        return [owner for _, one in step.transformer_list if one != "drop" for owner in followed(one, owners)]
    if hasattr(step, "get_support"):
        return [owners[place] for place in step.get_support(indices=True)]
    return _by_name(step, owners)


def _side_by_side(step: Any, owners: Sequence[str]) -> list[str]:
    """Follow a column transformer: each part has its columns, and its places in the output."""
    places = {name: place for place, name in enumerate(getattr(step, "feature_names_in_", ()))}
    found: dict[int, str] = {}
    for name, part, chosen in step.transformers_:
        span = step.output_indices_.get(name)
        if span is None or (isinstance(part, str) and part == "drop"):
            continue
        mine = [owners[place] for place in _chosen(chosen, places, len(owners))]
        outputs = followed(part, mine) if mine else []
        if len(outputs) != span.stop - span.start:
            raise NotFollowedError(f"{name} gives {span.stop - span.start} features, {len(outputs)} could be followed")
        found |= dict(zip(range(span.start, span.stop), outputs, strict=True))
    return [found[place] for place in sorted(found)]


def _chosen(chosen: Any, places: dict[str, int], count: int) -> list[int]:
    if isinstance(chosen, slice):
        if isinstance(chosen.start, str) or isinstance(chosen.stop, str):
            raise NotFollowedError("columns chosen by a slice of names")
        return list(range(count))[chosen]
    some = [chosen] if isinstance(chosen, str | int) else list(chosen)
    if len(some) == count and all(str(one) in ("True", "False") for one in some):
        return [place for place, one in enumerate(some) if one]
    return [places[one] if isinstance(one, str) else range(count)[int(one)] for one in some]


def _by_name(step: Any, owners: Sequence[str]) -> list[str]:
    """Read the names that a step gives to its features: `column`, `column_category`."""
    kind = type(step).__name__
    known = getattr(step, "feature_names_in_", None)
    # one that was fitted without names takes any: these cannot be mistaken for each other
    names = [f"<{place}>" for place in range(len(owners))] if known is None else [str(name) for name in known]
    if len(names) != len(owners):
        raise NotFollowedError(f"{kind} was fitted with {len(names)} features and gets {len(owners)}")
    if not callable(getattr(step, "get_feature_names_out", None)):
        raise NotFollowedError(f"{kind} does not name its features")
    by_name = dict(zip(names, owners, strict=True))
    outputs = [str(name) for name in step.get_feature_names_out(names if known is None else None)]
    if outputs == names:
        return list(owners)
    return [_owner(name.removeprefix("missingindicator_"), by_name, kind) for name in outputs]


def _owner(feature: str, by_name: dict[str, str], kind: str) -> str:
    if feature in by_name:
        return by_name[feature]
    found = {owner for name, owner in by_name.items() if feature.startswith(f"{name}_")}
    if len(found) != 1:
        what = "several columns" if found else "no column"
        raise NotFollowedError(f"the feature {feature[:60]} of {kind} goes with {what} by its name")
    return found.pop()
