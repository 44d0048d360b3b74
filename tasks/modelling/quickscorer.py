"""Boosted trees run by bit vectors instead of node by node: QuickScorer, Lucchese et al. 2015 (SIGIR).

A tree's leaves are bits of a word. Where a row's value of one feature lies among that feature's thresholds decides all
nodes that ask for it in all trees at once, and so which leaves can still be reached: one row of a table of words, a
word a tree. The words of all features, ANDed, leave a single bit in each: the leaf the row falls into. No branch
depends on a row, so NumPy runs hundreds of trees over hundreds of rows in a few calls.

Leaves are added up in the order of the trees, in float64, as LightGBM does: predictions are equal to the last bit.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from expectations.errors import BundleError
from expectations.families import Matrix, Vector

#: LightGBM takes values this close to zero for zero (`kZeroThreshold`, a float32).
_TINY = struct.unpack("f", struct.pack("f", 1e-35))[0]
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_SHIFT, _MISSING = 1, 2, 2, 3
_ZERO_IS_MISSING, _NAN_IS_MISSING = 1, 2
_PLAIN_OBJECTIVES = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
#: Bits of a word -> (its type, a de Bruijn sequence, shift): `word * sequence >> shift` numbers the single bit in it.
_WORDS: dict[int, tuple[type[np.unsignedinteger[Any]], int, int]] = {
    16: (np.uint16, 0x09AF, 12),
    32: (np.uint32, 0x077CB531, 27),
    64: (np.uint64, 0x03F79D71B4CB0A89, 58),
}
_MAX_BYTES = 16 << 20
_AT_ONCE_BYTES, _BLOCK_BYTES = 512 << 10, 128 << 10
_CELLS, _MAX_IN_A_CELL = (8, 16, 32, 64, 128, 256, 512), 2

Words = npt.NDArray[np.unsignedinteger[Any]]


class _Node(NamedTuple):
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


class _Grid(NamedTuple):
    """Equal cells over the span of a feature's thresholds; a value's is ``(value - low) * scale``, rounded down."""

    low: float
    scale: float
    last: float
    below: npt.NDArray[np.intp]
    """How many thresholds lie in lower cells; shape (n_cells,)."""
    held: Vector
    """Thresholds in each cell, filled up with infinity; shape (_MAX_IN_A_CELL, n_cells)."""

    @classmethod
    def of(cls, thresholds: Vector) -> _Grid | None:
        """Lay as few cells as do over ascending thresholds; None where too many would be needed."""
        low = float(thresholds[0]) if len(thresholds) else 0.0
        for number in _CELLS:
            with np.errstate(all="ignore"):
                scale = (number - 1) / (thresholds[-1] - low) if len(thresholds) > 1 else np.float64(1)
                cells = np.fmin(np.fmax((thresholds - low) * scale, 0.0), number - 1).astype(np.intp)
            counts = np.bincount(cells, minlength=number)
            if counts.max() <= _MAX_IN_A_CELL:
                below = np.cumsum(counts) - counts
                held = np.full((_MAX_IN_A_CELL, number), np.inf)
                held[np.arange(len(cells)) - below[cells], cells] = thresholds
                return cls(low, float(scale), number - 1.0, below, held)
        return None


_NO_GRID = _Grid(0.0, 1.0, 0.0, np.zeros(1, np.intp), np.full((_MAX_IN_A_CELL, 1), np.inf))


class _Places:
    """Finds where values lie among their features' thresholds, for all features at once.

    The span of a feature's thresholds is cut into equal cells, so many that none holds more than a few: arithmetic
    finds a value's cell, and as many comparisons its place there. Rounding does no harm, as it keeps the order: what
    falls into a lower cell than a threshold is below it. Features whose thresholds lie too close to each other for
    that are bisected, one after another.

    Parameters
    ----------
    features : sequence of int
        Columns of the matrix.
    bounds : sequence of ndarray
        Thresholds of each, ascending, infinity last. A feature has a place for each, and one more for what is missing;
        those of the next feature follow.
    """

    def __init__(self, features: Sequence[int], bounds: Sequence[Vector]) -> None:
        starts = np.cumsum([0, *(len(each) + 1 for each in bounds)], dtype=np.intp)
        grids = [_Grid.of(each[:-1]) for each in bounds]
        self._columns, self._missing = np.array(features, np.intp), starts[1:, None] - 1
        self._bisected = [
            (at, each.searchsorted, starts[at])
            for at, (each, grid) in enumerate(zip(bounds, grids, strict=True))
            if grid is None
        ]
        laid = [grid or _NO_GRID for grid in grids]
        self._lows, self._scales, self._lasts = np.array([grid[:3] for grid in laid]).T[:, :, None]
        self._cells = np.cumsum([0, *(len(grid.below) for grid in laid[:-1])], dtype=np.intp)[:, None]
        self._below = np.concatenate([starts[at] + grid.below for at, grid in enumerate(laid)])
        held = np.concatenate([grid.held for grid in laid], axis=1)
        self._held = [each for each in held if np.isfinite(each).any()]

    def of(self, matrix: Matrix) -> npt.NDArray[np.intp]:
        """Return places of shape (n_features, n_rows)."""
        values = matrix.T[self._columns]
        with np.errstate(all="ignore"):
            cells = values - self._lows
            cells *= self._scales
        cells = np.fmin(np.fmax(cells, 0.0, cells), self._lasts, cells).astype(np.intp)
        cells += self._cells
        places: npt.NDArray[np.intp] = self._below.take(cells)
        for bounds in self._held:
            places += values > bounds.take(cells)
        for at, search, start in self._bisected:
            places[at] = search(values[at])
            places[at] += start
        missing = np.isnan(values)
        if missing.any():
            np.copyto(places, self._missing, where=missing)
        return places


class QuickScorer:
    """Runs the trees of a LightGBM text model.

    Make it with `QuickScorer.of`; the trees must be of a kind it knows.
    """

    def __init__(self, trees: Sequence[dict[str, str]], width: int, bits: int, present: _Present) -> None:
        kind, sequence, shift = _WORDS[bits]
        self.width, self._present = width, present
        self._kind, self._sequence, self._shift = np.dtype(kind), np.array(sequence, kind), np.array(shift, kind)
        self._bytes = len(trees) * self._kind.itemsize
        full = np.array([(1 << int(tree["num_leaves"])) - 1 for tree in trees], kind)
        self._leaves = np.zeros(len(trees) * bits)
        self._first_leaf = np.arange(len(trees), dtype=np.intp) * bits
        nodes: dict[int, list[_Node]] = {}
        for number, tree in enumerate(trees):
            for position, value in enumerate(_read(number, tree, nodes)):
                slot = (((1 << position) * sequence) & ((1 << bits) - 1)) >> shift
                self._leaves[number * bits + slot] = value
        self._features = sorted(nodes)
        self._bounds = [_bounds(nodes[feature]) for feature in self._features]
        blocks = [_block(nodes[each], bounds, full) for each, bounds in zip(self._features, self._bounds, strict=True)]
        self._table = np.concatenate(blocks)
        self._places = _Places(self._features, self._bounds)
        self._words_of = _lookup(self._features, self._bounds, blocks)

    @classmethod
    def of(cls, text: str) -> QuickScorer | None:
        """Make one for a LightGBM text model, or None where it is not of a kind this can run.

        It runs trees of up to 64 leaves, some of which split, for one class or value, without models in the leaves,
        whose objective adds leaves up (and passes them through a sigmoid), as long as the table of words stays below
        16 MB.
        """
        head, *trees = (dict(_settings(part)) for part in text.partition("\nend of trees")[0].split("\n\nTree="))
        present = _presentation(head.get("objective", ""))
        if not trees or present is None or head["num_tree_per_iteration"] != "1" or "average_output" in head:
            return None
        if any(tree.get("is_linear", "0") != "0" for tree in trees) or not any(
            "split_feature" in tree for tree in trees
        ):
            return None
        leaves = max(int(tree["num_leaves"]) for tree in trees)
        bits = next((bits for bits in _WORDS if 1 < leaves <= bits), 0)
        if not bits or _table_bytes(trees, bits) > _MAX_BYTES:
            return None
        return cls(trees, int(head["max_feature_idx"]) + 1, bits, present)

    def predict_row(self, values: Sequence[float]) -> float:
        """Predict one row of `width` numbers."""
        if -math.inf in values:  # bisection takes it for NaN
            return float(self.predict(np.array([values]))[0])
        words = np.frombuffer(self._words_of(values).to_bytes(self._bytes, "little"), self._kind)
        slots = (words * self._sequence) >> self._shift
        leaves = self._leaves[np.add(slots, self._first_leaf, dtype=np.intp, casting="unsafe")]
        return self._present([np.add.accumulate(leaves).item(-1)])[0]

    def predict(self, matrix: Matrix) -> Vector:
        """Predict rows of shape (n_rows, width)."""
        return np.array(self._present(self.scores(matrix).tolist()), np.float64)

    def scores(self, matrix: Matrix) -> Vector:
        """Return raw scores of rows of shape (n_rows, width): sums of leaves."""
        if matrix.ndim != 2 or matrix.shape[1] != self.width:
            raise BundleError(f"{self.width} features in each row", f"shape {matrix.shape}", "Train again")
        size = max(1, _BLOCK_BYTES // self._bytes)
        if len(matrix) <= size:
            return self._block_scores(matrix)
        parts = [self._block_scores(matrix[start : start + size]) for start in range(0, len(matrix), size)]
        return np.concatenate(parts)

    def probes(self, least: int) -> Matrix:
        """Return rows that meet every threshold: at it, just below and just above; and some with missing values.

        Returns
        -------
        ndarray of shape (least or more, width)
        """
        random = np.random.default_rng(0)
        finite = [bounds[:-1] for bounds in self._bounds]
        values = [
            np.concatenate([each, np.nextafter(each, np.inf), np.nextafter(each, -np.inf), [0.0, np.nan]])
            for each in finite
        ]
        rows = np.full((max([least, *map(len, values)]), self.width), np.nan)
        for feature, each in zip(self._features, values, strict=True):
            rows[:, feature] = random.permutation(np.resize(each, len(rows)))
        return rows

    def _block_scores(self, matrix: Matrix) -> Vector:
        places = self._places.of(matrix)
        if places.size * self._bytes <= _AT_ONCE_BYTES:
            words = np.bitwise_and.reduce(self._table.take(places, 0), axis=0)
        else:
            words = self._table.take(places[0], 0)
            spare = np.empty_like(words)
            for place in places[1:]:
                self._table.take(place, 0, spare, "clip")
                words &= spare
        words *= self._sequence
        words >>= self._shift
        slots = words.T.astype(np.intp, order="C")
        slots += self._first_leaf[:, None]
        leaves = self._leaves[slots]
        # NumPy adds neighbours in memory by halves, but rows of an array one after another
        scores: Vector = np.add.accumulate(leaves)[-1] if len(matrix) == 1 else np.add.reduce(leaves, axis=0)
        return scores


def _settings(part: str) -> Iterator[tuple[str, str]]:
    for line in part.splitlines():
        name, _, value = line.partition("=")
        yield name, value


def _below(value: float) -> float:
    return math.nextafter(value, -math.inf)


_Present = Callable[[list[float]], list[float]]


def _presentation(objective: str) -> _Present | None:
    """Return what makes predictions of raw scores, or None for objectives that are not known here."""
    name, *settings = objective.split()
    if name == "binary":
        slope = next((float(each.partition(":")[2]) for each in settings if each.startswith("sigmoid:")), 1.0)
        return lambda scores: _sigmoid(scores, -slope)
    if name in _PLAIN_OBJECTIVES and "sqrt" not in settings:
        return lambda scores: scores
    return None


def _sigmoid(scores: list[float], slope: float) -> list[float]:
    exp = math.exp  # the C library's, as LightGBM's; NumPy's own differs in the last bit
    try:
        return [1.0 / (1.0 + exp(slope * score)) for score in scores]
    except OverflowError:
        return [1.0 / (1.0 + _exp(slope * score)) for score in scores]


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


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


def _read(number: int, tree: dict[str, str], nodes: dict[int, list[_Node]]) -> list[float]:
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
            _Node(
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


def _bounds(nodes: Sequence[_Node]) -> Vector:
    """Return where the decisions of a feature's nodes change: between two neighbours all values are alike."""
    return np.array(sorted({math.inf}.union(*(node.bounds() for node in nodes))))


def _block(nodes: Sequence[_Node], bounds: Vector, full: Words) -> Words:
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


def _table_bytes(trees: Sequence[dict[str, str]], bits: int) -> int:
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


def _lookup(
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
