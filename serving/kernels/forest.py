"""Forests: all trees of a few rows are walked together; for many rows scikit-learn's own trees are asked one by one.

The latter is quicker and needs scikit-learn, so it is done where that is: in the model host. Either way the checks,
copies and thread pools of `RandomForestClassifier.predict` are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.kernels.table import NotInTrainingError

_LARGEST = float(np.finfo(np.float32).max)
_FEW_CELLS = 800
"""Rows times trees up to which walking them together is cheaper than one call for each tree (measured)."""
_AT_ONCE = 1_024
"""Rows that are walked together; more would take much memory."""


@dataclass(frozen=True, slots=True)
class ForestValue:
    """The mean of the trees: from a matrix (rows, columns) to values (rows)."""

    nodes: "Nodes"

    def __call__(self, matrix: NDArray[np.float64]) -> NDArray[Any]:
        """Compute."""
        return self.nodes.mean(_single(matrix))[:, 0]


@dataclass(frozen=True, slots=True)
class ForestLabel:
    """The label that the trees think likeliest: from a matrix (rows, columns) to labels (rows)."""

    nodes: "Nodes"
    classes: NDArray[Any]

    def __call__(self, matrix: NDArray[np.float64]) -> NDArray[Any]:
        """Compute."""
        found: NDArray[Any] = self.classes[np.argmax(self.nodes.mean(_single(matrix)), axis=1)]
        return found


def _single(matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round to single precision, as trees do; what that does not hold they refuse, so the original has to say it."""
    if (np.abs(matrix) > _LARGEST).any():
        raise NotInTrainingError
    return matrix.astype(np.float32)


def forest_kernel(model: Any) -> ForestValue | ForestLabel | None:
    """Compile a forest with one output; `None` for anything else."""
    # only where models are loaded
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )

    if type(model) in (RandomForestRegressor, ExtraTreesRegressor) and model.n_outputs_ == 1:
        return ForestValue(Nodes([one.tree_ for one in model.estimators_]))
    if type(model) in (RandomForestClassifier, ExtraTreesClassifier) and model.n_outputs_ == 1:
        return ForestLabel(Nodes([one.tree_ for one in model.estimators_]), np.asarray(model.classes_))
    return None


class Nodes:
    """The nodes of all trees, one tree after the other, a leaf leading to itself."""

    def __init__(self, trees: Sequence[Any]) -> None:
        """Take the trees of a forest (`sklearn.tree._tree.Tree`)."""
        self._trees = trees
        self.roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
        left = np.concatenate([tree.children_left + root for tree, root in zip(trees, self.roots, strict=True)])
        right = np.concatenate([tree.children_right + root for tree, root in zip(trees, self.roots, strict=True)])
        leaf = np.concatenate([tree.children_left for tree in trees]) < 0
        itself = np.arange(len(leaf))
        # child of node i: children[2 i] where the value is at most the threshold, else children[2 i + 1]
        self._children = np.stack([np.where(leaf, itself, left), np.where(leaf, itself, right)], axis=1).reshape(-1)
        self._feature = np.where(leaf, 0, np.concatenate([tree.feature for tree in trees]))
        self._threshold = np.concatenate([tree.threshold for tree in trees])
        self._value = np.concatenate([tree.value[:, 0, :] for tree in trees])
        self._depth = max(tree.max_depth for tree in trees)

    def __getstate__(self) -> dict[str, Any]:
        """Travel without scikit-learn's trees, which need scikit-learn."""
        return {**self.__dict__, "_trees": ()}

    @property
    def few_rows(self) -> int:
        """Rows up to which walking the trees together is cheaper than asking scikit-learn's."""
        return _FEW_CELLS // len(self.roots)

    def mean(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Average the trees' values: (rows, classes), or (rows, 1) for a regression."""
        if len(matrix) > self.few_rows and self._trees:
            total: NDArray[np.float64] = np.zeros((len(matrix), self._value.shape[1]))
            for tree in self._trees:
                total += tree.predict(matrix)
        else:
            total = np.concatenate(
                [self._sum(matrix[begin : begin + _AT_ONCE]) for begin in range(0, len(matrix), _AT_ONCE)]
            )
        total /= len(self.roots)
        return total

    def _sum(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        # one tree after the other, as scikit-learn adds them: `sum` would add in pairs and round otherwise
        return np.cumsum(self._value[self._leaves(matrix)], axis=1)[:, -1]

    def _leaves(self, matrix: NDArray[np.float32]) -> NDArray[np.intp]:
        """Walk all trees for all rows at once: (rows, trees)."""
        node = np.broadcast_to(self.roots, (len(matrix), len(self.roots)))
        start = (np.arange(len(matrix)) * matrix.shape[1])[:, None]
        cells = matrix.reshape(-1)
        for _ in range(self._depth):
            value = cells.take(self._feature.take(node) + start)
            node = self._children.take(node * 2 + (value > self._threshold.take(node)))
        return node
