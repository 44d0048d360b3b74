"""The tables behind `quickscorer`: a LightGBM text model's trees as thresholds and words of leaves."""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from expectations.families import Vector
from tasks.modelling.links import exponential, sigmoid

#: LightGBM takes values this close to zero for zero (`kZeroThreshold`, a float32).
_TINY = struct.unpack("f", struct.pack("f", 1e-35))[0]
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_SHIFT, _MISSING = 1, 2, 2, 3
_ZERO_IS_MISSING, _NAN_IS_MISSING = 1, 2
_LOGARITHMIC_OBJECTIVES = ("poisson", "gamma", "tweedie")
_PLAIN_OBJECTIVES = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
MAX_BYTES = 16 << 20

Words = npt.NDArray[np.unsignedinteger[Any]]


class Node(NamedTuple):
    """An inner node: what sends a row left, and the leaves it cannot reach then and otherwise."""

    tree: int
    threshold: float
    categories: int | None
    """Those that go left, a bit each."""
    default_left: bool
    missing: int
    left: int
    """Leaves below it on the left, a bit each."""
    right: int

    @property
    def ordered(self) -> bool:
        """Whether all numbers up to the threshold go left and all others right."""
        tiny = -_TINY <= self.threshold < _TINY
        return self.categories is None and self.missing != _ZERO_IS_MISSING and not tiny

    def goes_left(self, value: float) -> bool:
        """Decide as `Tree::Decision` of LightGBM does."""
        if self.categories is not None:
            return -1 < value < 2**31 and bool(self.categories >> int(value) & 1)
        if math.isnan(value) and self.missing != _NAN_IS_MISSING:
            value = 0.0
        if math.isnan(value) or (self.missing == _ZERO_IS_MISSING and value == 0.0):
            return self.default_left
        return value <= self.threshold

    def bounds(self) -> Iterator[float]:
        """Yield values up to and including which its decision may be another than beyond."""
        if self.categories is not None:
            for category in _positions(self.categories):
                yield _below(category) if category else -1.0
                yield _below(category + 1)
            return
        yield self.threshold
        if not self.ordered:  # what is close to zero is taken for zero
            yield _below(-_TINY)
            yield _TINY


def settings_of(part: str) -> Iterator[tuple[str, str]]:
    """Return the settings a part of the text holds, a line each."""
    for line in part.splitlines():
        name, _, value = line.partition("=")
        yield name, value


def _below(value: float) -> float:
    return math.nextafter(value, -math.inf)


Present = Callable[[list[float]], list[float]]


def presentation_of(objective: str) -> Present | None:
    """Return what makes predictions of raw scores, or None for objectives that are not known here."""
    name, *settings = objective.split() or [""]
    if name == "binary":
        slope = next((float(each.partition(":")[2]) for each in settings if each.startswith("sigmoid:")), 1.0)
        return lambda scores: sigmoid(scores, slope)
    if name in _PLAIN_OBJECTIVES and "sqrt" not in settings:
        return lambda scores: scores
    if name in _LOGARITHMIC_OBJECTIVES:
        return exponential
    return None


def _numbers(tree: dict[str, str], name: str) -> list[int]:
    return list(map(int, tree.get(name, "").split()))


def _categories(tree: dict[str, str]) -> list[int]:
    """Return sets of categories, a bit each."""
    bounds, words = _numbers(tree, "cat_boundaries"), _numbers(tree, "cat_threshold")
    return [sum(word << 32 * at for at, word in enumerate(words[start:end])) for start, end in pairwise(bounds)]


def _positions(bits: int) -> Iterator[int]:
    """Yield the positions of bits that are set."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def read_tree(number: int, tree: dict[str, str], nodes: dict[int, list[Node]]) -> list[float]:
    """Add a tree's inner nodes to those of their features; return its leaves' values from left to right."""
    values = list(map(float, tree["leaf_value"].split()))
    if len(values) == 1:
        return values
    left, right = _numbers(tree, "left_child"), _numbers(tree, "right_child")
    kinds, features = _numbers(tree, "decision_type"), _numbers(tree, "split_feature")
    thresholds, categories = list(map(float, tree["threshold"].split())), _categories(tree)
    order: list[float] = []

    def walk(node: int) -> None:
        if node < 0:
            order.append(values[~node])
            return
        start = len(order)
        walk(left[node])
        middle = len(order)
        walk(right[node])
        kind = kinds[node]
        nodes.setdefault(features[node], []).append(
            Node(
                number,
                thresholds[node],
                categories[int(thresholds[node])] if kind & _CATEGORICAL else None,
                bool(kind & _DEFAULT_LEFT),
                kind >> _MISSING_SHIFT & _MISSING,
                (1 << middle) - (1 << start),
                (1 << len(order)) - (1 << middle),
            )
        )

    walk(0)
    return order


def bounds_of(nodes: Sequence[Node]) -> Vector:
    """Return where the decisions of a feature's nodes change: between two neighbours all values are alike."""
    return np.array(sorted({math.inf}.union(*(node.bounds() for node in nodes))))


def block_of(nodes: Sequence[Node], bounds: Vector, full: Words) -> Words:
    """Return the words of all trees for a value up to each bound, and for a missing one last; (n_bounds + 1, n_trees).

    Parameters
    ----------
    full : ndarray of shape (n_trees,)
        All leaves of each tree.
    """
    kind = full.dtype.type
    values = [0.0 if abs(bound) <= _TINY else bound for bound in bounds.tolist()] + [math.nan]
    block = np.tile(full, (len(values), 1))
    for node in nodes:
        lost_left, lost_right = (kind(int(full[node.tree]) & ~lost) for lost in (node.right, node.left))
        column = block[:, node.tree]
        if node.ordered:
            end = int(bounds.searchsorted(node.threshold, "right"))
            column[:end] &= lost_left
            column[end:-1] &= lost_right
            column[-1] &= lost_left if node.goes_left(math.nan) else lost_right
        else:
            column &= np.where([node.goes_left(value) for value in values], lost_left, lost_right)
    return block


def table_bytes(trees: Sequence[dict[str, str]], bits: int) -> int:
    """Return at most how large the table of words becomes."""
    bounds: dict[str, set[str]] = {}
    several = 0
    for tree in trees:
        names, kinds = tree.get("split_feature", "").split(), _numbers(tree, "decision_type")
        for name, kind, threshold in zip(names, kinds, tree.get("threshold", "").split(), strict=True):
            bounds.setdefault(name, set()).add("" if kind & _CATEGORICAL else threshold)
        several = max([several, *(each.bit_count() for each in _categories(tree))])
    rows = sum(len(each) + 4 + (2 * several if "" in each else 0) for each in bounds.values())
    return rows * len(trees) * bits // 8


def lookup_of(
    features: Sequence[int], bounds: Sequence[Vector], blocks: Sequence[Words]
) -> Callable[[Sequence[float]], int]:
    """Generate what returns the words of one row, all in one number: Python ANDs those faster than NumPy starts."""
    known: dict[str, Any] = {"at": bisect_left}
    terms = []
    for number, (feature, bound, block) in enumerate(zip(features, bounds, blocks, strict=True)):
        words = [int.from_bytes(row.tobytes(), "little") for row in block]
        # bisection puts NaN before everything
        known[f"b{number}"] = [-math.inf, *bound.tolist()]
        known[f"w{number}"] = [words[-1], *words[:-1]]
        terms.append(f"w{number}[at(b{number}, row[{feature}])]")
    source = f"def words_of(row):\n    return {' & '.join(terms)}"
    exec(source, known)  # noqa: S102 - names and numbers of ours alone
    # taken out, so that function and namespace are no cycle: a service swaps models, and freezes cycles
    found: Callable[[Sequence[float]], int] = known.pop("words_of")
    return found
