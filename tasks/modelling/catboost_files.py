"""CatBoost's JSON: symmetric trees of numbers, translated into trees that split as they do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from expectations.errors import TrainingError
from expectations.families import Task, Vector
from expectations.wording import one_line
from tasks.modelling.lightgbm_text import PlainTree, constant, largest, require_tree
from tasks.modelling.model_kinds import ModelFile, refused
from tasks.modelling.translated import Link, of_trees

SAVE = "model.save_model('model.json', format='json')"
MAX_DEPTH = 16
"""CatBoost's own."""
MAX_ROWS = 1e15
"""Training rows of a leaf, by weight."""
_LINKS: Mapping[str, Link] = {"Logloss": "sigmoid", "CrossEntropy": "sigmoid", "MultiClass": "softmax"}
"""What follows the sum of the leaves, by loss; of all others that are taken nothing does."""
_MISSING_LEFT = {"AsIs": True, "AsFalse": True, "AsTrue": False}
"""CatBoost lets no missing value be greater than a border, or takes it as below or above all numbers."""


class _Splits(NamedTuple):
    """The splits of a model: of each the feature, the largest number that goes left, and whether a missing one does."""

    feature: npt.NDArray[np.intp]
    threshold: Vector
    missing_left: npt.NDArray[np.bool_]

    def part(self, begin: int, end: int) -> _Splits:
        """Return those from `begin` to before `end`."""
        return _Splits(self.feature[begin:end], self.threshold[begin:end], self.missing_left[begin:end])


def read_catboost(content: bytes, name: str, task_of: Callable[[str], Task]) -> ModelFile:
    """Return what CatBoost's JSON says of itself, and its translation.

    Parameters
    ----------
    task_of : callable
        Returns the kind of problem of a loss, and raises where the loss is not taken.

    Raises
    ------
    TrainingError
        If it is damaged, of another loss, not of numbers alone, or its trees are none, or not symmetric.
    """
    try:
        said = json.loads(content)
        info, loss = said["features_info"], str(said["model_info"]["params"]["loss_function"]["type"])
        others = [key for key, values in info.items() if key != "float_features" and values]
        symmetric = "oblivious_trees" in said
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(name, error) from error
    if others:
        do = "Train it on columns of numbers that the table has, too (categories encoded before)"
        raise refused(name, "features that are numbers", ", ".join(others), do)
    if not symmetric:
        raise refused(name, "symmetric trees", "others", "Train it with grow_policy='SymmetricTree', the default")
    task = task_of(loss)
    try:
        return _read(content, said, task, _LINKS.get(loss, "identity"))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise _damaged(name, error) from error


def refuse_binary(content: bytes, name: str) -> ModelFile:
    """Refuse CatBoost's own binary form, which nothing but CatBoost reads.

    Raises
    ------
    TrainingError
    """
    del content
    raise refused(name, "CatBoost's JSON", "its binary form (cbm)", f"Save it so where you trained it: {SAVE}")


def _damaged(name: str, error: Exception) -> TrainingError:
    return refused(name, "a model as CatBoost writes it", one_line(error) or repr(error), f"Save it anew: {SAVE}")


def _read(content: bytes, said: Mapping[str, Any], task: Task, link: Link) -> ModelFile:
    features = said["features_info"]["float_features"]
    width = len(features)
    if [each["feature_index"] for each in features] != list(range(width)) or not width:
        raise ValueError(f"{width} features, not numbered in order")
    scale, bias = said["scale_and_bias"]
    bases = np.ravel(np.asarray(bias, np.float64))
    outputs = len(bases)
    names = (said["model_info"].get("class_params") or {}).get("class_names") or []
    if (outputs > 2) != (link == "softmax") or outputs == 2:
        raise ValueError(f"{outputs} scores of a {task}")
    if names and len(names) != max(2, outputs):
        raise ValueError(f"{len(names)} names of classes, and {outputs} scores")
    trees = [constant(base) for base in bases.tolist()]
    trees += _trees(said["oblivious_trees"], features, outputs, float(scale))
    for tree in trees:
        require_tree(tree, width)
    served = of_trees(trees, outputs, width, link, probabilities=False)
    return ModelFile("catboost", content, _names(features), width, (task,), outputs, _classes(names), served)


def _names(features: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the features' names; none where CatBoost has only their places."""
    names = tuple(str(each.get("feature_id", "")) for each in features)
    return () if not all(names) or names == tuple(map(str, range(len(names)))) else names


def _classes(names: Sequence[Any]) -> tuple[str, ...]:
    """Return the classes' names; none of what is true or false, or only their places."""
    classes = tuple(map(str, names))
    return () if list(names) == list(range(len(names))) else classes


def _trees(trees: Sequence[Any], features: Sequence[Any], outputs: int, scale: float) -> list[PlainTree]:
    """Return the trees of all outputs in turn."""
    depths = [len(tree.get("splits") or ()) for tree in trees]
    if max(depths, default=0) > MAX_DEPTH:
        raise ValueError(f"trees of {max(depths)} splits")
    splits = _splits([split for tree in trees for split in tree.get("splits") or ()], features)
    found, begin = [], 0
    for tree, depth in zip(trees, depths, strict=True):
        values = scale * np.asarray(tree["leaf_values"], np.float64).reshape(1 << depth, outputs)
        rows = np.asarray(tree.get("leaf_weights") or [1.0] * (1 << depth), np.float64).reshape(1 << depth)
        if not ((rows >= 0) & (rows < MAX_ROWS)).all():
            raise ValueError("weights of leaves that are none")
        own = splits.part(begin, begin + depth)
        found += [_plain(own, values[:, output], rows) for output in range(outputs)]
        begin += depth
    return found


def _splits(splits: Sequence[Mapping[str, Any]], features: Sequence[Mapping[str, Any]]) -> _Splits:
    other = next((each["split_type"] for each in splits if each["split_type"] != "FloatFeature"), None)
    if other is not None:
        raise ValueError(f"a split of the type {other}")
    feature = np.array([int(each["float_feature_index"]) for each in splits], np.intp)
    border = np.array([float(each["border"]) for each in splits], np.float64).astype(np.float32)
    if not np.isfinite(border).all():
        raise ValueError("borders that are no numbers")
    if feature.size and not 0 <= feature.min() <= feature.max() < len(features):
        raise ValueError(f"a split of feature {feature.max()} of {len(features)}")
    left = np.array([_MISSING_LEFT[each["nan_value_treatment"]] for each in features])
    return _Splits(feature, largest(lambda x: x.astype(np.float32) <= border, len(border)), left[feature])


def _plain(splits: _Splits, values: Vector, rows: Vector) -> PlainTree:
    """Return a symmetric tree, whose nodes of a level all split alike.

    Parameters
    ----------
    values, rows : ndarray of shape (2 ** depth,)
        Of the leaf whose number has bit i where split i goes right.
    """
    depth, inner = len(splits.feature), len(values) - 1
    level = np.repeat(np.arange(depth), 1 << np.arange(depth))
    order = np.zeros(1, np.intp)
    for at in range(depth):  # the first split is the root, and its bit the lowest
        order = np.column_stack([order, order + (1 << at)]).ravel()
    place = np.arange(inner)
    leaves = np.full(len(values), -1)
    none = np.zeros(len(values))
    return PlainTree(
        np.concatenate([2 * place + 1, leaves]),
        np.concatenate([2 * place + 2, leaves]),
        np.concatenate([splits.feature[level], none.astype(np.intp)]),
        np.concatenate([splits.threshold[level], none]),
        np.concatenate([splits.missing_left[level], none.astype(np.bool_)]),
        np.concatenate([np.zeros(inner), values[order]]),
        np.concatenate([np.zeros(inner), rows[order]]),
    )
