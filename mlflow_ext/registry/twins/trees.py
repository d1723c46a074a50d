"""Converters for boosting and for regressors made of trees, in double precision throughout.

skl2onnx writes trees for operators whose sums are single precision, which changes a regressor's answer in its seventh
digit and cannot hold the thresholds of histogram boosting. ONNX's newer operator `TreeEnsemble` (ai.onnx.ml 5) can.
Every other model's conversion is skl2onnx's own; comparing with the original is in `making.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeRegressor, ExtraTreeRegressor

_ML = "ai.onnx.ml"
_ML_OPSET = 5
_WRITTEN_AS = 3
"""skl2onnx takes no newer operators; `finish` says what they are."""
_SUM, _NO_TRANSFORM, _LESS_OR_EQUAL = 1, 0, 0


class NotConvertibleError(ValueError):
    """The model uses something that has no equal in ONNX; the message says what."""


@dataclass(frozen=True, slots=True)
class _Tree:
    """One tree: a node is an inner one or a leaf.

    Attributes:
        feature: Column that each node looks at, shape (nodes,).
        threshold: Values up to which it goes left, shape (nodes,).
        left, right: Number of the next node, shape (nodes,).
        leaf: Whether a node is a leaf, shape (nodes,).
        value: What a leaf adds, shape (nodes,).
        target: Output that it adds to.
    """

    feature: NDArray[Any]
    threshold: NDArray[np.float64]
    left: NDArray[Any]
    right: NDArray[Any]
    leaf: NDArray[np.bool_]
    value: NDArray[np.float64]
    target: int


@dataclass(frozen=True, slots=True)
class _Sum:
    """What all these models compute: a constant and the sum of trees.

    Attributes:
        trees: The trees.
        base: Constant of each output, shape (outputs,).
        divisor: The sum of the trees is divided by it.
        rounds_input: Whether the original looks at its input in single precision.
        link: `identity` or `exp`: what a regressor does with the sum.
    """

    trees: Sequence[_Tree]
    base: NDArray[np.float64]
    divisor: float = 1.0
    rounds_input: bool = True
    link: str = "identity"


def converters() -> dict[type, Callable[[Any, Any, Any], None]]:
    """Give what skl2onnx is to call, by the type of the estimator."""
    regressors = (
        *(DecisionTreeRegressor, ExtraTreeRegressor, RandomForestRegressor, ExtraTreesRegressor),
        *(GradientBoostingRegressor, HistGradientBoostingRegressor),
    )
    classifiers = (GradientBoostingClassifier, HistGradientBoostingClassifier)
    return {**dict.fromkeys(regressors, _regressor), **dict.fromkeys(classifiers, _classifier)}


def finish(graph: Any) -> None:
    """Declare the version of operators that the trees need, in a graph that skl2onnx has made (`onnx.ModelProto`)."""
    if any(node.op_type == "TreeEnsemble" for node in graph.graph.node):
        for one in graph.opset_import:
            if one.domain == _ML:
                one.version = _ML_OPSET


def _sum_of(model: Any) -> _Sum:
    if isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        return _histogram_boosting(model)
    if isinstance(model, GradientBoostingClassifier | GradientBoostingRegressor):
        return _gradient_boosting(model)
    trees = getattr(model, "estimators_", [model])
    return _Sum([_tree(one.tree_, 0) for one in trees], np.zeros(1), float(len(trees)))


def _tree(tree: Any, target: int, weight: float = 1.0) -> _Tree:
    if tree.value.shape[1:] != (1, 1):
        raise NotConvertibleError("its trees give more than one value")
    leaf = tree.children_left < 0
    left, right = tree.children_left, tree.children_right
    return _Tree(tree.feature, tree.threshold, left, right, leaf, tree.value[:, 0, 0] * weight, target)


def _gradient_boosting(model: Any) -> _Sum:
    if not isinstance(model.init_, str | DummyClassifier | DummyRegressor):
        raise NotConvertibleError(f"its boosting begins with a {type(model.init_).__name__}")
    base = np.asarray(model._raw_predict_init(np.zeros((1, model.n_features_in_))), dtype=np.float64).ravel()
    trees = [
        _tree(one.tree_, target, model.learning_rate)
        for round_ in model.estimators_
        for target, one in enumerate(round_)
    ]
    return _Sum(trees, base)


def _histogram_boosting(model: Any) -> _Sum:
    if getattr(model, "is_categorical_", None) is not None:
        raise NotConvertibleError("its boosting splits by category")
    link = type(model._loss.link).__name__
    if link not in ("IdentityLink", "LogLink") and not hasattr(model, "classes_"):
        raise NotConvertibleError(f"its loss has a {link}")
    trees = []
    for round_ in model._predictors:
        for target, one in enumerate(round_):
            nodes = one.nodes
            leaf = nodes["is_leaf"].astype(bool)
            left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
            trees.append(_Tree(nodes["feature_idx"], nodes["num_threshold"], left, right, leaf, nodes["value"], target))
    base = np.asarray(model._baseline_prediction, dtype=np.float64).ravel()
    log = link == "LogLink" and not hasattr(model, "classes_")
    return _Sum(trees, base, rounds_input=False, link="exp" if log else "identity")


@dataclass(slots=True)
class _Nodes:
    """Trees below each other, as the operator wants them."""

    roots: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    true_ids: list[int] = field(default_factory=list)
    true_leafs: list[int] = field(default_factory=list)
    false_ids: list[int] = field(default_factory=list)
    false_leafs: list[int] = field(default_factory=list)
    leaf_targets: list[int] = field(default_factory=list)
    leaf_weights: list[float] = field(default_factory=list)

    def add(self, tree: _Tree) -> None:
        first, first_leaf = len(self.features), len(self.leaf_weights)
        # inner nodes and leaves are numbered apart
        inner, leaves = np.cumsum(~tree.leaf) - 1, np.cumsum(tree.leaf) - 1
        self.roots.append(first)
        self.leaf_weights += tree.value[tree.leaf].tolist()
        self.leaf_targets += [tree.target] * int(tree.leaf.sum())
        for number in np.flatnonzero(~tree.leaf):
            self.features.append(int(tree.feature[number]))
            self.splits.append(float(tree.threshold[number]))
            for child, ids, leafs in (
                (tree.left[number], self.true_ids, self.true_leafs),
                (tree.right[number], self.false_ids, self.false_leafs),
            ):
                is_leaf = bool(tree.leaf[child])
                ids.append(first_leaf + int(leaves[child]) if is_leaf else first + int(inner[child]))
                leafs.append(int(is_leaf))
        if len(self.features) == first:
            # the operator knows no tree without a question: either way to the only leaf
            self.features.append(0)
            self.splits.append(0.0)
            for ids, leafs in ((self.true_ids, self.true_leafs), (self.false_ids, self.false_leafs)):
                ids.append(first_leaf)
                leafs.append(1)

    def attributes(self, targets: int) -> dict[str, Any]:
        count = len(self.features)
        return {
            "n_targets": targets,
            "aggregate_function": _SUM,
            "post_transform": _NO_TRANSFORM,
            "tree_roots": self.roots,
            "nodes_featureids": self.features,
            "nodes_splits": numpy_helper.from_array(np.array(self.splits), "splits"),
            "nodes_modes": numpy_helper.from_array(np.full(count, _LESS_OR_EQUAL, dtype=np.uint8), "modes"),
            "nodes_truenodeids": self.true_ids,
            "nodes_trueleafs": self.true_leafs,
            "nodes_falsenodeids": self.false_ids,
            "nodes_falseleafs": self.false_leafs,
            "leaf_targetids": self.leaf_targets,
            "leaf_weights": numpy_helper.from_array(np.array(self.leaf_weights), "weights"),
        }


@dataclass(frozen=True, slots=True)
class _Graph:
    """Adds nodes to the graph that skl2onnx builds."""

    scope: Any
    container: Any

    def node(self, operator: str, *inputs: str, output: str | None = None, domain: str = "", **attributes: Any) -> str:
        """Add a node, and give its output's name."""
        output = output or str(self.scope.get_unique_variable_name(operator.lower()))
        self.container.add_node(
            operator,
            list(inputs),
            output,
            op_domain=domain,
            op_version=_WRITTEN_AS if domain else None,
            name=self.scope.get_unique_operator_name(operator),
            **attributes,
        )
        return output

    def constant(self, values: Any, kind: int) -> str:
        """Add a constant."""
        name = str(self.scope.get_unique_variable_name("constant"))
        flat = np.asarray(values)
        data = [one.encode() for one in flat] if kind == TensorProto.STRING else flat
        self.container.add_initializer(name, kind, list(flat.shape), data)
        return name

    def sum(self, what: _Sum, rows: str) -> str:
        """Add the sum of trees, shape (rows, outputs)."""
        if what.rounds_input:
            rows = self.node("Cast", rows, to=TensorProto.FLOAT)
        rows = self.node("Cast", rows, to=TensorProto.DOUBLE)
        nodes = _Nodes()
        for tree in what.trees:
            nodes.add(tree)
        found = self.node("TreeEnsemble", rows, domain=_ML, **nodes.attributes(len(what.base)))
        if what.divisor != 1.0:
            found = self.node("Div", found, self.constant([what.divisor], TensorProto.DOUBLE))
        return self.node("Add", found, self.constant(what.base, TensorProto.DOUBLE))


def _regressor(scope: Any, operator: Any, container: Any) -> None:
    graph = _Graph(scope, container)
    what = _sum_of(operator.raw_operator)
    found = graph.sum(what, operator.inputs[0].full_name)
    if what.link == "exp":
        found = graph.node("Exp", found)
    _give(graph, found, operator.outputs[0])


def _classifier(scope: Any, operator: Any, container: Any) -> None:
    graph = _Graph(scope, container)
    model = operator.raw_operator
    raw = graph.sum(_sum_of(model), operator.inputs[0].full_name)
    label, scores = operator.outputs
    if len(model.classes_) == 2:
        # at nought, the one counts for yes what the other counts for no
        compare = "Greater" if isinstance(model, HistGradientBoostingClassifier) else "GreaterOrEqual"
        yes = graph.node(compare, raw, graph.constant([0.0], TensorProto.DOUBLE))
        flat = graph.node("Reshape", yes, graph.constant([-1], TensorProto.INT64))
        number = graph.node("Cast", flat, to=TensorProto.INT64)
        second = graph.node("Sigmoid", raw)
        first = graph.node("Sub", graph.constant([1.0], TensorProto.DOUBLE), second)
        probabilities = graph.node("Concat", first, second, axis=1)
    else:
        number = graph.node("ArgMax", raw, axis=1, keepdims=0)
        probabilities = graph.node("Softmax", raw, axis=1)
    texts = isinstance(label.type, StringTensorType)
    kind = TensorProto.STRING if texts else TensorProto.INT64
    classes = graph.constant(model.classes_ if texts else model.classes_.astype(np.int64), kind)
    graph.node("Gather", classes, number, output=label.full_name)
    _give(graph, probabilities, scores)


def _give(graph: _Graph, found: str, output: Any) -> None:
    # skl2onnx guesses single precision where a column before it has that
    output.set_type(DoubleTensorType(output.type.shape))
    graph.node("Identity", found, output=output.full_name)
