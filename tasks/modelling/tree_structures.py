"""Whether the trees of a model file are trees: of others a library ends the process, never ends, or answers anyhow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_INNER = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
_OF_INNER = ("split_gain", "internal_value", "internal_weight", "internal_count")
_OF_LEAVES = ("leaf_weight", "leaf_count")
"""What LightGBM says of nodes beside what answers are made of."""
_NUMBERS = re.compile(r"[-+.0-9A-Za-z ]*")
_BY_CATEGORY = 1
"""Bit of `decision_type`."""

Places = npt.NDArray[np.intp]


def require_lightgbm_trees(blocks: Sequence[str], width: int) -> None:
    """Raise of the first tree of LightGBM's text that is none.

    Parameters
    ----------
    blocks : sequence of str
        The text of each tree.
    width : int
        Features that the model has.

    Raises
    ------
    ValueError
        Which tree it is, and what is wrong with it.
    """
    for at, block in enumerate(blocks):
        said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if said.get("Tree") != str(at):
            raise ValueError(f"no tree {at} where it should begin")
        try:
            wrong = _wrong_of_lightgbm(said, width)
        except (KeyError, OverflowError, ValueError) as error:
            raise ValueError(f"tree {at}: {error}") from error
        if wrong:
            raise ValueError(f"tree {at}: {wrong}")


def _wrong_of_lightgbm(said: Mapping[str, str], width: int) -> str:
    leaves, categories = int(said["num_leaves"]), int(said["num_cat"])
    if leaves < 1 or len(_numbers(said["leaf_value"])) != leaves:
        return f"not as many leaves as the {leaves} that it names"
    if said.get("is_linear", "0") != "0":
        return "lines in its leaves, which LightGBM does not explain: train it without linear_tree"
    counts = dict.fromkeys(_INNER, (leaves - 1, False)) | dict.fromkeys(_OF_INNER, (leaves - 1, True))
    counts |= dict.fromkeys(_OF_LEAVES, (leaves, True))
    for name, (count, optional) in counts.items():
        found = len(_numbers(said.get(name, "") if optional else said[name]))
        if found != count and not (optional and not found):
            return f"{found} values of {name} for {count} nodes"
    left, right, features = (_places(said[name]) for name in ("left_child", "right_child", "split_feature"))
    # leaves, which have numbers below zero, are put behind the inner nodes
    ends = np.full(leaves, -1)
    left, right = (np.append(np.where(side < 0, leaves - 2 - side, side), ends) for side in (left, right))
    wrong = wrong_of_tree(left, right, np.append(features, ends), width)
    return wrong or _wrong_categories(said, categories)


def _wrong_categories(said: Mapping[str, str], categories: int) -> str:
    """Say what is wrong with the sets of categories, which thresholds are places of."""
    sets = _numbers(said["threshold"])[(_places(said["decision_type"]) & _BY_CATEGORY) > 0]
    if not categories:
        return "splits by categories, of which it names none" if len(sets) else ""
    bounds, held = _places(said["cat_boundaries"]), _numbers(said["cat_threshold"])
    sound = (
        len(bounds) == categories + 1 and bounds[0] == 0 and bounds[-1] == len(held) and (np.diff(bounds) >= 0).all()
    )
    return "" if sound and np.isin(sets, np.arange(categories)).all() else "sets of categories that are not there"


def require_xgboost_trees(learner: Mapping[str, Any], outputs: int) -> None:
    """Raise of a `gbtree` of XGBoost's JSON that does not make one number for each output of trees.

    Raises
    ------
    ValueError, KeyError, TypeError, OverflowError
        Which tree it is, and what is wrong with it; or what is not there.
    """
    model, width = learner["gradient_booster"]["model"], int(learner["learner_model_param"]["num_feature"])
    trees, of_output = model["trees"], model["tree_info"]
    if len(of_output) != len(trees) or not all(0 <= int(output) < outputs for output in of_output):
        raise ValueError(f"trees of other outputs than its {outputs}")
    bases = [float(base) for base in str(learner["learner_model_param"]["base_score"]).strip("[]").split(",")]
    if len(bases) not in (1, outputs) or not np.isfinite(bases).all():
        raise ValueError(f"base_score {bases} for {outputs} outputs")
    for at, wrong in enumerate(_wrong_of_xgboost(trees, width)):
        if wrong:
            raise ValueError(f"tree {at}: {wrong}")


def _wrong_of_xgboost(trees: Sequence[Mapping[str, Any]], width: int) -> Iterator[str]:
    for tree in trees:
        if int(tree["tree_param"]["size_leaf_vector"]) > 1:
            yield "several numbers in each leaf (multi_output_tree)"
            continue
        left, right, features = (
            np.array(tree[name], np.intp) for name in ("left_children", "right_children", "split_indices")
        )
        values = [float(value) for value in tree["split_conditions"]]
        if not len(left) == len(right) == len(features) == len(values) == len(tree["default_left"]):
            yield "not as many values for each node"
        else:
            yield wrong_of_tree(left, right, features, width)


def wrong_of_tree(left: Places, right: Places, features: Places, width: int) -> str:
    """Say why nodes are no tree; empty where they are one, below the first.

    Parameters
    ----------
    left, right : ndarray of shape (n_nodes,)
        Places of the children; -1 of a leaf.
    features : ndarray of shape (n_nodes,)
        What inner nodes split.
    width : int
        How many features there are.

    Examples
    --------
    >>> left, right, features = np.array([1, -1, -1]), np.array([2, -1, -1]), np.array([3, 0, 0])
    >>> wrong_of_tree(left, right, features, 4), wrong_of_tree(left, right, features, 3)
    ('', 'splits a feature that it has not')
    """
    seen = np.zeros(len(left), np.bool_)
    reached = np.zeros(1, np.intp)
    while True:
        if (reached < 0).any() or (reached >= len(left)).any():
            return "a child that is not there"
        if seen[reached].any() or len(np.unique(reached)) < len(reached):
            return "a node that lies below itself, or below two others"
        seen[reached] = True
        inner = reached[left[reached] != -1]
        if not inner.size:
            return ""
        if ((features[inner] < 0) | (features[inner] >= width)).any():
            return "splits a feature that it has not"
        reached = np.concatenate([left[inner], right[inner]])


def _numbers(text: str) -> npt.NDArray[np.float64]:
    if not _NUMBERS.fullmatch(text):
        raise ValueError(f"no numbers: {text[:20]!r}")
    return np.array(text.split(), np.float64)


def _places(text: str) -> Places:
    return np.array([int(each) for each in text.split()], np.intp)
