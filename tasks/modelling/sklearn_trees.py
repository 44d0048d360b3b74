"""Trees of scikit-learn's ensembles, as plain trees that read what comes before imputing and scaling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from expectations.families import Matrix, Vector
from tasks.modelling.lightgbm_text import PlainTree, constant, largest, require_tree
from tasks.modelling.translated import Link
from tasks.modelling.tree_structures import Places

_FORESTS = ("ExtraTreesClassifier", "ExtraTreesRegressor", "RandomForestClassifier", "RandomForestRegressor")
_BOOSTED = ("GradientBoostingClassifier", "GradientBoostingRegressor")
_BINNED = ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor")
ENSEMBLES = (*_FORESTS, *_BOOSTED, *_BINNED)
_OF_TREES = ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor")
_AS_IT_IS = ("absolute_error", "huber", "quantile", "squared_error")
"""Losses of regressors whose leaves add up to the answer."""


def trees_of(
    model: Any,  # noqa: ANN401 - scikit-learn ships no types
    width: int,
    fill: Vector | None,
    mean: Vector | None,
    scale: Vector | None,
) -> tuple[list[PlainTree], Link, bool]:
    """Return an ensemble's trees in turn of its outputs, what follows their sum, and whether that is a probability.

    Parameters
    ----------
    fill, mean, scale : ndarray of shape (n_features,), optional
        See `tasks.modelling.skops_files.Estimator`.

    Raises
    ------
    ValueError, AttributeError, TypeError, IndexError
        If it is not fitted, of another loss, or its trees are none.
    """
    kind = type(model).__name__
    classes = len(getattr(model, "classes_", ()))
    if int(model.n_features_in_) != width or classes == 1:
        raise ValueError(f"{model.n_features_in_} features and {classes} classes")
    found = list(_forest(model, classes) if kind in _FORESTS else _boosted(model, classes, binned=kind in _BINNED))
    for tree in found:
        require_tree(tree, width)
    narrow = kind not in _BINNED
    trees = [_before(tree, fill, mean, scale, narrow=narrow) for tree in found]
    if kind in _FORESTS:
        return trees, "identity", classes > 0
    outputs = classes if classes > 2 else 1
    bases = [constant(float(base)) for base in _bases(model, found, outputs, width)]
    return bases + trees, "softmax" if classes > 2 else "sigmoid" if classes else "identity", False


def _forest(model: Any, classes: int) -> Iterator[PlainTree]:  # noqa: ANN401
    if int(model.n_outputs_) != 1:
        raise ValueError(f"{model.n_outputs_} targets")
    for estimator in model.estimators_:
        values = _values(estimator, classes) / len(model.estimators_)
        columns = range(classes) if classes > 2 else [values.shape[1] - 1]
        for column in columns:
            yield _of_tree(estimator, values[:, column])


def _values(estimator: Any, classes: int) -> Vector:  # noqa: ANN401
    """Return what nodes are worth, shape (n_nodes, n_classes or 1)."""
    values = np.asarray(_sound(estimator).value[:, 0, :], np.float64)
    if values.shape[1] != max(1, classes):
        raise ValueError(f"leaves of {values.shape[1]} numbers")
    return values / values.sum(axis=1, keepdims=True) if classes else values


def _sound(estimator: Any) -> Any:  # noqa: ANN401
    """Return the nodes of an estimator, of which there are no more than were stored."""
    if type(estimator).__name__ not in _OF_TREES:
        raise TypeError(f"trees, and not a {type(estimator).__name__}")
    from sklearn.tree._tree import Tree

    tree = estimator.tree_
    if type(tree) is not Tree:  # compiled code takes it for one, whatever it is
        raise TypeError(f"nodes, and not a {type(tree).__name__}")
    if not 0 < tree.node_count <= tree.capacity:
        raise ValueError(f"{tree.node_count} nodes, of which {tree.capacity} are stored")
    return tree


def _of_tree(estimator: Any, value: Vector) -> PlainTree:  # noqa: ANN401
    tree = _sound(estimator)
    nodes = tree.__getstate__()["nodes"]
    return PlainTree(
        nodes["left_child"].astype(np.intp),
        nodes["right_child"].astype(np.intp),
        nodes["feature"].astype(np.intp),
        nodes["threshold"].astype(np.float64),
        nodes["missing_go_to_left"].astype(np.bool_),
        value,
        nodes["weighted_n_node_samples"].astype(np.float64),
    )


def _boosted(model: Any, classes: int, *, binned: bool) -> Iterator[PlainTree]:  # noqa: ANN401
    losses = ("log_loss",) if classes else _AS_IT_IS
    if model.loss not in losses:
        raise ValueError(f"loss {model.loss!r}, and not one of {', '.join(losses)}")
    if binned:
        for predictors in model._predictors:  # noqa: SLF001 - scikit-learn shows them nowhere else
            yield from map(_of_nodes, predictors)
        return
    if getattr(model, "init", None) is not None and model.init != "zero":
        raise ValueError("an estimator of its own as `init`")
    _require_room(model, classes if classes > 2 else 1)
    for estimators in model.estimators_:
        for estimator in estimators:
            yield _of_tree(estimator, model.learning_rate * _values(estimator, 0)[:, 0])


def _require_room(model: Any, outputs: int) -> None:  # noqa: ANN401
    """Refuse stages of other outputs than what they are added to: compiled code would write behind it."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    if model.init_ != "zero" and type(model.init_) not in (DummyClassifier, DummyRegressor):
        raise ValueError(f"a {type(model.init_).__name__} as `init_`")
    begun = model._raw_predict_init(np.zeros((1, int(model.n_features_in_)), np.float32))  # noqa: SLF001 - what it adds to
    if begun.shape != (1, outputs) or np.shape(model.estimators_)[1:] != (outputs,):
        raise ValueError(f"stages of shape {np.shape(model.estimators_)} for {outputs} outputs")


def _of_nodes(predictor: Any) -> PlainTree:  # noqa: ANN401
    nodes = predictor.nodes
    if nodes["is_categorical"].any():
        raise ValueError("splits by categories")
    leaf = nodes["is_leaf"].astype(np.bool_)
    left, right = (np.where(leaf, -1, nodes[side].astype(np.intp)) for side in ("left", "right"))
    return PlainTree(
        left,
        right,
        nodes["feature_idx"].astype(np.intp),
        nodes["num_threshold"].astype(np.float64),
        nodes["missing_go_to_left"].astype(np.bool_),
        nodes["value"].astype(np.float64),
        nodes["count"].astype(np.float64),
    )


def named_as_fitted(model: Any, rows: Matrix) -> Any:  # noqa: ANN401 - scikit-learn ships no types
    """Return rows as a model is asked for them: one that was fitted on a frame warns of columns without their names."""
    import pandas as pd

    names = getattr(model, "feature_names_in_", None)
    return rows if names is None else pd.DataFrame(rows, columns=names)


def _bases(model: Any, trees: list[PlainTree], outputs: int, width: int) -> Vector:  # noqa: ANN401
    """Return what each output's sum begins with: what the model says of zeros, less what its trees do."""
    zeros = named_as_fitted(model, np.zeros((1, width)))
    said = model.decision_function(zeros) if hasattr(model, "classes_") else model.predict(zeros)
    added = np.zeros(outputs)
    for at, tree in enumerate(trees):
        added[at % outputs] += _of_zeros(tree)
    return np.ravel(np.asarray(said, np.float64)) - added


def _of_zeros(tree: PlainTree) -> float:
    place = 0
    while tree.left[place] >= 0:
        place = int(tree.left[place] if tree.threshold[place] >= 0 else tree.right[place])
    return float(tree.value[place])


def _before(
    tree: PlainTree, fill: Vector | None, mean: Vector | None, scale: Vector | None, *, narrow: bool
) -> PlainTree:
    """Return the tree whose thresholds are of what is imputed, scaled and, with `narrow`, rounded to 32 bits later."""
    feature: Places = np.where(tree.left < 0, 0, tree.feature)
    bound = tree.threshold

    def passes(values: Vector) -> Any:  # noqa: ANN401 - whether each goes left
        if mean is not None and scale is not None:
            values = (values - mean[feature]) / scale[feature]
        return (values.astype(np.float32) if narrow else values) <= bound

    missing = tree.missing_left if fill is None else passes(fill[feature])
    threshold = largest(passes, len(feature)) if narrow or scale is not None else bound
    most = np.nextafter(np.finfo(np.float64).max, 0.0)  # where infinity parts what is missing from what is not
    return tree._replace(threshold=np.clip(threshold, -most, most), missing_left=missing)
