"""Which method decides about a column, and every method's number beside it."""

import math
from collections.abc import Callable, Mapping

from drift.engine.methods import (
    cardinality,
    chi_square,
    entropy,
    hellinger,
    jensen_shannon,
    kolmogorov_smirnov,
    kullback_leibler,
    moments,
    psi,
    rank_sum,
    wasserstein,
)
from drift.engine.pair import Measured, Pair

Method = Callable[[Pair], Measured]
_EVERY: Mapping[str, Method] = {
    "psi": psi.measure,
    "kl": kullback_leibler.measure,
    "js": jensen_shannon.measure,
    "hellinger": hellinger.measure,
    "chi_square": chi_square.measure,
}
_ORDERED: Mapping[str, Method] = {
    "ks": kolmogorov_smirnov.measure,
    "rank_sum": rank_sum.measure,
    "wasserstein": wasserstein.measure,
}


def decisive(pair: Pair, number_method: str, category_method: str) -> tuple[str, float]:
    """Ask the method that decides.

    Args:
        pair: The column.
        number_method: For numbers; `ks` asks the rank sum, too, and takes the smaller chance, doubled.
        category_method: For categories, and for numbers with few different values.

    Returns:
        The method, and the chance of such a difference without drift.
    """
    if not pair.is_ordered:
        return category_method, _chance(_EVERY[category_method](pair))
    if number_method == "ks":
        both = _chance(_ORDERED["ks"](pair)), _chance(_ORDERED["rank_sum"](pair))
        return "ks", min(1.0, 2 * min(both))
    return number_method, _chance({**_EVERY, **_ORDERED}[number_method](pair))


def measures(pair: Pair, kind: str) -> dict[str, float]:
    """Give every method's number, by its name; finite ones only."""
    found = {name: method(pair).value for name, method in _EVERY.items()}
    if pair.is_ordered:
        # the chance of a Wasserstein distance is dearer than all the rest together
        found |= {"ks": kolmogorov_smirnov.measure(pair).value, "rank_sum": rank_sum.measure(pair).value}
        found["wasserstein"] = wasserstein.distance(pair)
    if kind == "data":
        # the same number, by the name that it has for an input
        found["csi"] = found.pop("psi")
    there, here = entropy.measure(pair)
    found |= {"entropy": here, "entropy_change": here - there}
    found |= moments.measures(pair)
    levels = cardinality.measure(pair)
    if levels is not None:
        found |= {
            "levels": levels.different,
            "new_levels": len(levels.new),
            "new_share": levels.new_share,
            "vanished_levels": len(levels.vanished),
        }
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def _chance(measured: Measured) -> float:
    return 1.0 if measured.p_value is None else measured.p_value
