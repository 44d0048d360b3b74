"""Trees of other libraries, written as LightGBM's text: run, and explained, as LightGBM's own are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from expectations.families import Vector
from tasks.modelling.tree_structures import Places, wrong_of_tree

_NAN_IS_MISSING, _DEFAULT_LEFT = 8, 2
_LOWEST, _HIGHEST = np.array([-np.inf, np.inf]).view(np.int64)


class PlainTree(NamedTuple):
    """A tree whose nodes split numbers: values up to the threshold go left.

    Attributes
    ----------
    left, right : ndarray of shape (n_nodes,)
        Places of the children; -1 of a leaf. The root is the first.
    feature, threshold, missing_left, value, rows : ndarray of shape (n_nodes,)
        What an inner node splits and where, whether a missing value goes left; what a leaf is worth; training rows.
    """

    left: Places
    right: Places
    feature: Places
    threshold: Vector
    missing_left: npt.NDArray[np.bool_]
    value: Vector
    rows: Vector


def require_tree(tree: PlainTree, width: int) -> None:
    """Raise where nodes are no tree of so many features.

    Raises
    ------
    ValueError
    """
    leaf = tree.left < 0
    wrong = wrong_of_tree(tree.left, tree.right, tree.feature, width)
    if not wrong and 2 * leaf.sum() != len(leaf) + 1:
        wrong = "nodes that nothing leads to"
    if not wrong and not (np.isfinite(tree.value[leaf]).all() and not np.isnan(tree.threshold[~leaf]).any()):
        wrong = "leaves or thresholds that are no numbers"
    if wrong:
        raise ValueError(wrong)


def constant(value: float) -> PlainTree:
    """Return a tree of one leaf."""
    none, whole = np.array([-1]), np.array([0])
    return PlainTree(none, none, whole, np.zeros(1), np.zeros(1, np.bool_), np.array([value]), np.ones(1))


def largest(passes: Callable[[Vector], npt.NDArray[np.bool_]], count: int) -> Vector:
    """Return the largest numbers that pass, where all smaller ones do, too: by bisection, to the last bit.

    Parameters
    ----------
    passes : callable
        Of numbers of shape (count,), whether each passes; infinity need not.

    Examples
    --------
    >>> float(largest(lambda x: x.astype(np.float32) <= 0.5, 1)[0])  # what 32 bits round down to it, too
    0.5000000298023224
    """
    # the bits of numbers from 0 on are in their order as integers, those below it in the opposite one
    low, high = np.full(count, _ordered(_LOWEST)), np.full(count, _ordered(_HIGHEST))
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(64):
            middle = low // 2 + high // 2 + (low % 2 + high % 2) // 2  # their sum is beyond 64 bits
            passed = passes(_number(middle))
            low, high = np.where(passed, middle, low), np.where(passed, high, middle)
    return _number(low)


def _ordered(bits: np.int64) -> int:
    """Return the place of a number among all of them, from its bits."""
    return int(bits) if bits >= 0 else -(int(bits) & 0x7FFF_FFFF_FFFF_FFFF)


def _number(places: npt.NDArray[np.int64]) -> Vector:
    sizes = np.abs(places).view(np.float64)
    return np.where(places < 0, -sizes, sizes)


def lightgbm_text(trees: Sequence[PlainTree], outputs: int, width: int, objective: str) -> str:
    """Return LightGBM's text of trees: the first of them adds to the first output, and so on in turn.

    Parameters
    ----------
    objective : str
        As LightGBM writes it; empty for sums of leaves as they are.
    """
    blocks = [_block(at, tree) for at, tree in enumerate(trees)]
    head = [
        "tree",
        "version=v4",
        f"num_class={outputs}",
        f"num_tree_per_iteration={outputs}",
        "label_index=0",
        f"max_feature_idx={width - 1}",
        *([f"objective={objective}"] if objective else []),
        "feature_names=" + " ".join(f"Column_{at}" for at in range(width)),
        "feature_infos=" + " ".join(["[-inf:inf]"] * width),
        "tree_sizes=" + " ".join(str(len(block)) for block in blocks),
    ]
    return "\n".join(head) + "\n\n" + "".join(blocks) + "end of trees\n"


def _block(at: int, tree: PlainTree) -> str:
    leaf = tree.left < 0
    inner = ~leaf
    names = np.where(
        leaf, -np.cumsum(leaf, dtype=np.intp), np.cumsum(inner, dtype=np.intp) - 1
    )  # leaves from -1 down, as LightGBM numbers them
    counts = _counts(tree, leaf)
    zeros = np.zeros(int(inner.sum()), np.intp)
    said = {
        "split_feature": tree.feature[inner],
        "split_gain": zeros,
        "threshold": tree.threshold[inner],
        "decision_type": _NAN_IS_MISSING + _DEFAULT_LEFT * tree.missing_left[inner].astype(np.intp),
        "left_child": names[tree.left[inner]],
        "right_child": names[tree.right[inner]],
        "leaf_value": tree.value[leaf],
        "leaf_weight": counts[leaf],
        "leaf_count": counts[leaf],
        "internal_value": zeros,
        "internal_weight": counts[inner],
        "internal_count": counts[inner],
    }
    lines = [f"Tree={at}", f"num_leaves={int(leaf.sum())}", "num_cat=0"]
    lines += [f"{name}={' '.join(map(repr, values.tolist()))}" for name, values in said.items()]
    return "\n".join([*lines, "is_linear=0", "shrinkage=1"]) + "\n\n\n"


def _counts(tree: PlainTree, leaf: npt.NDArray[np.bool_]) -> Places:
    """Return rows of each node, at least one in each leaf: those of an inner node are its leaves'."""
    found = np.where(leaf, np.maximum(1, np.round(tree.rows)), 0).astype(np.intp)
    levels, reached = [], np.zeros(1, np.intp)
    while (reached := reached[~leaf[reached]]).size:
        levels.append(reached)
        reached = np.concatenate([tree.left[reached], tree.right[reached]])
    for level in reversed(levels):
        found[level] = found[tree.left[level]] + found[tree.right[level]]
    return found
