"""Forests: all trees of a few rows are walked together; for many rows scikit-learn's own trees are asked one by one.

Either way the checks, copies and thread pools of `RandomForestClassifier.predict` are left out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor

from serving.kernels.table import NotInTrainingError

_CLASSIFIERS = (RandomForestClassifier, ExtraTreesClassifier)
_REGRESSORS = (RandomForestRegressor, ExtraTreesRegressor)
_LARGEST = float(np.finfo(np.float32).max)
_FEW_CELLS = 800
"""Rows times trees up to which walking them together is cheaper than one call for each tree (measured)."""


def forest_kernel(model: Any) -> Callable[[NDArray[np.float64]], NDArray[Any]] | None:
    """Compile a forest with one output; `None` for anything else.

    Returns:
        From a matrix (rows, columns) to labels or values (rows).
    """
    if type(model) not in (*_CLASSIFIERS, *_REGRESSORS) or model.n_outputs_ != 1:
        return None
    nodes = _Nodes([one.tree_ for one in model.estimators_])
    if type(model) in _REGRESSORS:
        return lambda matrix: nodes.mean(_single(matrix))[:, 0]
    classes = np.asarray(model.classes_)
    return lambda matrix: classes[np.argmax(nodes.mean(_single(matrix)), axis=1)]


def _single(matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round to single precision, as trees do; what that does not hold they refuse, so the original has to say it."""
    if (np.abs(matrix) > _LARGEST).any():
        raise NotInTrainingError
    return matrix.astype(np.float32)


class _Nodes:
    """The nodes of all trees, one tree after the other, a leaf leading to itself."""

    def __init__(self, trees: list[Any]) -> None:
        self._trees = trees
        self._roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
        left = np.concatenate([tree.children_left + root for tree, root in zip(trees, self._roots, strict=True)])
        right = np.concatenate([tree.children_right + root for tree, root in zip(trees, self._roots, strict=True)])
        leaf = np.concatenate([tree.children_left for tree in trees]) < 0
        itself = np.arange(len(leaf))
        # child of node i: children[2 i] where the value is at most the threshold, else children[2 i + 1]
        self._children = np.stack([np.where(leaf, itself, left), np.where(leaf, itself, right)], axis=1).reshape(-1)
        self._feature = np.where(leaf, 0, np.concatenate([tree.feature for tree in trees]))
        self._threshold = np.concatenate([tree.threshold for tree in trees])
        self._value = np.concatenate([tree.value[:, 0, :] for tree in trees])
        self._depth = max(tree.max_depth for tree in trees)

    def mean(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Average the trees' values: (rows, classes), or (rows, 1) for a regression."""
        if len(matrix) * len(self._trees) > _FEW_CELLS:
            total: NDArray[np.float64] = np.zeros((len(matrix), self._value.shape[1]))
            for tree in self._trees:
                total += tree.predict(matrix)
        else:
            # one tree after the other, as scikit-learn adds them: `sum` would add in pairs and round otherwise
            total = np.cumsum(self._value[self._leaves(matrix)], axis=1)[:, -1]
        total /= len(self._trees)
        return total

    def _leaves(self, matrix: NDArray[np.float32]) -> NDArray[np.intp]:
        """Walk all trees for all rows at once: (rows, trees)."""
        node = np.broadcast_to(self._roots, (len(matrix), len(self._trees)))
        start = (np.arange(len(matrix)) * matrix.shape[1])[:, None]
        cells = matrix.reshape(-1)
        for _ in range(self._depth):
            value = cells.take(self._feature.take(node) + start)
            node = self._children.take(node * 2 + (value > self._threshold.take(node)))
        return node
