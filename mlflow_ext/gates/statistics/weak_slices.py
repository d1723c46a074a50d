"""Search for rows that a model answers badly: a shallow tree on half of the rows, judged on the other half.

A tree that is judged on the rows it was grown on always finds something; the other half tells whether it is there.
Groups that somebody names are `groups.py`'s.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_LEVELS = 20
"""Of a column of words at most this many values, the most frequent, are looked at."""


@dataclass(frozen=True, slots=True)
class WeakSlice:
    """The rows that are furthest behind.

    Attributes:
        rule: Which rows, in words; empty where the tree found nothing to tell rows apart by.
        rows: Positions, among all rows, of those of the judging half that the rule holds for.
        others: Positions of all rows of the judging half.
    """

    rule: str
    rows: "NDArray[np.int64]"
    others: "NDArray[np.int64]"


def weakest_slice(
    features: "pd.DataFrame", loss: "NDArray[np.float64]", *, minimum_rows: int, depth: int = 3
) -> WeakSlice:
    """Find the rows whose mean loss is furthest behind that of all rows, by the standard errors of as many rows.

    Args:
        features: Columns that a rule may use.
        loss: What each row costs; greater is worse.
        minimum_rows: Least number of rows of a slice, in each half.
        depth: Most conditions of a rule.
    """
    import numpy as np
    from sklearn.tree import DecisionTreeRegressor

    columns = _numbers(features)
    order = np.random.default_rng(0).permutation(len(loss))
    grow, judge = order[: len(order) // 2], np.sort(order[len(order) // 2 :])
    values = np.column_stack([column for _, _, column in columns]) if columns else np.zeros((len(loss), 1))
    tree = DecisionTreeRegressor(max_depth=depth, min_samples_leaf=minimum_rows, random_state=0)
    tree.fit(values[grow], loss[grow])
    grown, counts = tree.tree_.value[:, 0, 0], tree.tree_.n_node_samples
    # how many standard errors a node is behind all rows, up to a factor: small slices must be much worse to count, and
    # the choice is made on the half that the tree was grown on, so that the other half stays an unspoilt judge
    behind = (grown - grown[0]) * np.sqrt(counts)
    inside = tree.decision_path(values[judge]).toarray().astype(bool)
    held = inside.sum(axis=0) >= minimum_rows
    held[0] = held[0] and len(held) == 1
    if not held.any():
        return WeakSlice("", judge[:0], judge)
    worst = int(np.where(held, behind, -np.inf).argmax())
    return WeakSlice(" and ".join(_conditions(tree.tree_, worst, columns)), judge[inside[:, worst]], judge)


def _numbers(features: "pd.DataFrame") -> "list[tuple[str, str | None, NDArray[np.float64]]]":
    """Give columns of numbers as they are, and one column for each of the frequent values of the others."""
    import numpy as np
    import pandas as pd

    found: list[tuple[str, str | None, NDArray[np.float64]]] = []
    for name, column in features.items():
        if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
            words = column.astype("object").where(column.notna(), "(missing)").map(str)
            frequent = words.value_counts().index[:_LEVELS]
            found += [(str(name), str(one), (words == one).to_numpy(dtype=np.float64)) for one in frequent]
        else:
            found.append((str(name), None, column.to_numpy(dtype=np.float64, na_value=np.nan)))
    return found


def _conditions(tree: Any, node: int, columns: "list[tuple[str, str | None, Any]]") -> list[str]:
    """Walk from a node to the root, and give the conditions from the root to the node."""
    words: list[str] = []
    while node != 0:
        parent = next(
            one for one in range(tree.node_count) if node in (tree.children_left[one], tree.children_right[one])
        )
        name, level, _ = columns[tree.feature[parent]]
        below = tree.children_left[parent] == node
        if level is None:
            words.append(f"{name} {'≤' if below else '>'} {tree.threshold[parent]:.4g}")
        else:
            words.append(f"{name} is {'not ' if below else ''}{level}")
        node = parent
    return words[::-1]
