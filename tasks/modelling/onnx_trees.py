"""Whether the trees of an ONNX graph are trees, as `tree_structures` asks of other files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tasks.modelling.tree_structures import Places, wrong_of_tree

if TYPE_CHECKING:
    from onnx import AttributeProto, NodeProto

ENSEMBLES = {"TreeEnsembleClassifier": "class", "TreeEnsembleRegressor": "target"}
"""And what their leaves are worth."""


def wrong_of_ensemble(node: NodeProto, width: int) -> str:
    """Say what is wrong with the trees of a node; empty where they are trees of so many features.

    Parameters
    ----------
    width : int
        Features that the graph takes.
    """
    said = {each.name: each for each in node.attribute}
    trees, ids, features, left, right = (
        _ints(said, f"nodes_{name}") for name in ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids")
    )
    leaf = np.array([mode == b"LEAF" for mode in said["nodes_modes"].strings] if "nodes_modes" in said else [])
    sizes = {len(each) for each in (trees, ids, features, left, right, leaf)}
    if len(sizes) != 1 or sizes == {0}:
        return "not as many values for each node"
    starts = np.flatnonzero(np.diff(trees, prepend=trees[0] - 1))
    if len(np.unique(trees[starts])) < len(starts):
        return "a tree in several pieces"
    for begin, end in zip(starts, [*starts[1:], len(trees)], strict=True):
        own = slice(begin, end)
        wrong = _wrong_of_one(ids[own], left[own], right[own], features[own], leaf[own], width)
        if wrong:
            return f"tree {trees[begin]}: {wrong}"
    return _wrong_leaves(node.op_type, said, {(int(tree), int(own)) for tree, own in zip(trees, ids, strict=True)})


def _wrong_of_one(ids: Places, left: Places, right: Places, features: Places, leaf: Places, width: int) -> str:
    place = {int(own): at for at, own in enumerate(ids)}
    if len(place) < len(ids):
        return "two nodes of one number"
    sides = [np.array([place.get(int(child), len(ids)) for child in side]) for side in (left, right)]
    below_left, below_right = (np.where(leaf, -1, side) for side in sides)
    return wrong_of_tree(below_left, below_right, features, width)


def _wrong_leaves(kind: str, said: dict[str, AttributeProto], nodes: set[tuple[int, int]]) -> str:
    """Say what is wrong with the worths of leaves, each of a node and an output."""
    what = ENSEMBLES[kind]
    trees, owners, outputs = (_ints(said, f"{what}_{name}") for name in ("treeids", "nodeids", "ids"))
    weights = len(said[f"{what}_weights"].floats) if f"{what}_weights" in said else 0
    if not weights and f"{what}_weights_as_tensor" in said:
        weights = math.prod(said[f"{what}_weights_as_tensor"].t.dims)
    if not len(trees) == len(owners) == len(outputs) == weights:
        return "not as many values for each leaf"
    labels = [said[name] for name in ("classlabels_int64s", "classlabels_strings") if name in said]
    named = [count for count in (len(each.ints) + len(each.strings) for each in labels) if count]
    if what == "class" and (len(named) != 1 or named[0] < 2):  # ONNX Runtime would look for the second one's name
        return "not two classes or more of one kind"
    count = named[0] if what == "class" else (int(said["n_targets"].i) if "n_targets" in said else 1)
    if ((outputs < 0) | (outputs >= count)).any():
        return f"leaves of other outputs than its {count}"
    if any(owner not in nodes for owner in zip(trees.tolist(), owners.tolist(), strict=True)):
        return "leaves that are not there"
    return ""


def _ints(said: dict[str, AttributeProto], name: str) -> Places:
    return np.array(said[name].ints if name in said else [], np.intp)
