"""From a profile and a window's statistics to one entry a column. What follows from them: `verdict.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from drift.engine.methods import cardinality, missing
from drift.engine.methods.choice import decisive, measures
from drift.engine.multivariate import Multivariate
from drift.engine.pair import Pair
from drift.engine.profile import ReferenceProfile
from drift.engine.rules import Rules
from drift.engine.statistics import Counts, Key, WindowStatistics
from mlflow_ext.domain.drift import ColumnDrift

ALL_INPUTS = "(all inputs)"


@dataclass(frozen=True)
class Comparison:
    """All columns of a window.

    Attributes:
        columns: One entry a column, inputs first.
        hypotheses: How many tests were made, those of slices among them: what one more column costs the others.
    """

    columns: tuple[ColumnDrift, ...]
    hypotheses: int


@dataclass
class _Tested:
    column: ColumnDrift
    method: str
    effect: float
    p_value: float


@dataclass(frozen=True)
class Examined:
    """What was tested about a window, or a slice of one; the chances are not corrected yet.

    Attributes:
        columns: Its columns, without an answer.
        tests: What was tested, by column.
        places: Order of the reference's columns.
    """

    columns: Mapping[Key, ColumnDrift]
    tests: Sequence[tuple[Key, _Tested]]
    places: Mapping[str, int]


def compare(
    profile: ReferenceProfile, window: WindowStatistics, rules: Rules, together: Sequence[Multivariate] = ()
) -> Comparison:
    """Compare every column of a window with the reference.

    Args:
        profile: The reference.
        window: What was counted in its bins.
        rules: What decides.
        together: What was found about the inputs together: one more test each.

    Returns:
        Entries with method, effect, corrected chance and every method's numbers.
    """
    return answered([examined(profile, window, rules, together)], rules)[0]


def examined(
    profile: ReferenceProfile, window: WindowStatistics, rules: Rules, together: Sequence[Multivariate] = ()
) -> Examined:
    """Test every column of a window; `answered` says what follows.

    Args:
        profile: The reference.
        window: What was counted in its bins.
        rules: What decides.
        together: What was found about the inputs together: one more test each.
    """
    columns: dict[Key, ColumnDrift] = {}
    tests: list[tuple[Key, _Tested]] = []
    for key in sorted(window.columns):
        if key[1] in rules.ignore:
            continue
        column, made = _column(profile, key, window.columns[key], rules)
        columns[key] = column
        tests += [(key, one) for one in made]
    for found in together:
        both: Key = ("multivariate", found.method)
        columns[both] = ColumnDrift(ALL_INPUTS, "multivariate", found.method, None, None, False)
        columns[both].measures["area"] = found.area
        tests.append((both, _Tested(columns[both], found.method, found.effect, found.p_value)))
    return Examined(columns, tests, {name: place for place, name in enumerate(profile.columns)})


def answered(family: Sequence[Examined], rules: Rules) -> list[Comparison]:
    """Say what tests of several windows or slices come to, one family: chances are corrected for all of them.

    Returns:
        One comparison each.
    """
    chances = corrected([test.p_value for one in family for _, test in one.tests], rules.correction)
    found, begin = [], 0
    for one in family:
        end = begin + len(one.tests)
        found.append(Comparison(_answered(one, chances[begin:end], rules), len(chances)))
        begin = end
    return found


def _answered(one: Examined, chances: Sequence[float], rules: Rules) -> tuple[ColumnDrift, ...]:
    columns = dict(one.columns)
    for (key, test), chance in zip(one.tests, chances, strict=True):
        mine = columns[key]
        drifted = chance <= rules.alpha and test.effect >= rules.least_effect
        first = mine.score is None
        # of two tests of a column the one that found drift is told, else that of its values
        if first or (drifted and not mine.drifted):
            columns[key] = replace(
                mine,
                method=test.method,
                score=test.effect,
                threshold=rules.least_effect,
                p_value=chance,
                drifted=drifted,
            )
    places = one.places
    ordered = sorted(columns, key=lambda key: (key[0], places.get(key[1], len(places)), key[1]))
    return tuple(columns[key] for key in ordered)


def corrected(p_values: Sequence[float], correction: str) -> list[float]:
    """Correct p-values for their number: Holm keeps the chance of any false one, Benjamini and Hochberg's the share."""
    count = len(p_values)
    if not count:
        return []
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    if correction == "holm":
        adjusted = np.maximum.accumulate(ranked * np.arange(count, 0, -1))
    else:
        adjusted = np.minimum.accumulate((ranked * count / np.arange(1, count + 1))[::-1])[::-1]
    found = np.empty(count)
    found[order] = np.minimum(adjusted, 1.0)
    return [float(one) for one in found]


def _column(
    profile: ReferenceProfile, key: Key, counts: Counts | None, rules: Rules
) -> tuple[ColumnDrift, list[_Tested]]:
    kind, name = key
    nothing = ColumnDrift(name, kind, "not_compared", None, None, False)
    reference = profile.columns.get(name)
    if reference is None:
        return replace(nothing, note="the reference has no such column"), []
    if counts is None or reference.counts is None:
        return replace(nothing, note=reference.note or "the window has no such column"), []
    if not counts.rows:
        return replace(nothing, note="the window has no such column"), []
    there = reference.counts
    lack = missing.measure(there, counts)
    said = {"missing_share": counts.missing / counts.rows}
    notes = []
    tests: list[_Tested] = []
    if counts.present:
        pair = Pair(reference, counts)
        method, chance = decisive(pair, rules.number_method, rules.category_method)
        tests.append(_Tested(nothing, method, pair.effect, chance))
        said |= measures(pair, kind)
        notes += _levels_note(pair)
    if there.missing or counts.missing:
        tests.append(_Tested(nothing, "missing_share", abs(lack.value), lack.p_value or 0.0))
        if abs(lack.value) >= rules.least_effect:
            notes.append(
                f"{counts.missing / counts.rows:.0%} missing, {there.missing / there.rows:.0%} in the reference"
            )
    unreadable = getattr(counts, "unreadable", 0)
    if unreadable:
        notes.append(f"{unreadable} values are no numbers")
    return replace(nothing, note="; ".join(notes), measures=said), tests


def _levels_note(pair: Pair) -> list[str]:
    found = cardinality.measure(pair)
    if found is None:
        return []
    notes = []
    if found.new:
        notes.append(f"new: {_some(found.new)} ({found.new_share:.1%} of the rows)")
    if found.vanished:
        notes.append(f"vanished: {_some(found.vanished)}")
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(name[:40] for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
