"""Boosted trees run by bit vectors instead of node by node: QuickScorer, Lucchese et al. 2015 (SIGIR).

A tree's leaves are bits of a word. Where a row's value of one feature lies among that feature's thresholds decides all
nodes that ask for it in all trees at once, and so which leaves can still be reached: one row of a table of words, a
word a tree. The words of all features, ANDed, leave a single bit in each: the leaf the row falls into. No branch
depends on a row, so NumPy runs hundreds of trees over hundreds of rows in a few calls.

Leaves are added up in the order of the trees, in float64, as LightGBM does: predictions are equal to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from expectations.errors import BundleError
from expectations.families import Matrix, Vector
from tasks.modelling.tree_tables import (
    MAX_BYTES,
    Node,
    Present,
    block_of,
    bounds_of,
    lookup_of,
    presentation_of,
    read_tree,
    settings_of,
    table_bytes,
)

#: Bits of a word -> (its type, a de Bruijn sequence, shift): `word * sequence >> shift` numbers the single bit in it.
_WORDS: dict[int, tuple[type[np.unsignedinteger[Any]], int, int]] = {
    16: (np.uint16, 0x09AF, 12),
    32: (np.uint32, 0x077CB531, 27),
    64: (np.uint64, 0x03F79D71B4CB0A89, 58),
}
_AT_ONCE_BYTES, _BLOCK_BYTES = 512 << 10, 128 << 10
_CELLS, _MAX_IN_A_CELL = (8, 16, 32, 64, 128, 256, 512), 2


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

    def __init__(self, trees: Sequence[dict[str, str]], width: int, bits: int, present: Present) -> None:
        kind, sequence, shift = _WORDS[bits]
        self.width, self._present = width, present
        self._kind, self._sequence, self._shift = np.dtype(kind), np.array(sequence, kind), np.array(shift, kind)
        self._bytes = len(trees) * self._kind.itemsize
        full = np.array([(1 << int(tree["num_leaves"])) - 1 for tree in trees], kind)
        self._leaves = np.zeros(len(trees) * bits)
        self._first_leaf = np.arange(len(trees), dtype=np.intp) * bits
        nodes: dict[int, list[Node]] = {}
        for number, tree in enumerate(trees):
            for position, value in enumerate(read_tree(number, tree, nodes)):
                slot = (((1 << position) * sequence) & ((1 << bits) - 1)) >> shift
                self._leaves[number * bits + slot] = value
        self._features = sorted(nodes)
        self._bounds = [bounds_of(nodes[feature]) for feature in self._features]
        blocks = [
            block_of(nodes[each], bounds, full) for each, bounds in zip(self._features, self._bounds, strict=True)
        ]
        self._table = np.concatenate(blocks)
        self._places = _Places(self._features, self._bounds)
        self._words_of = lookup_of(self._features, self._bounds, blocks)

    @classmethod
    def of(cls, text: str) -> QuickScorer | None:
        """Make one for a LightGBM text model, or None where it is not of a kind this can run.

        It runs trees of up to 64 leaves, some of which split, for one class or value, without models in the leaves,
        whose objective adds leaves up (and passes them through a sigmoid), as long as the table of words stays below
        16 MB.
        """
        head, *trees = (dict(settings_of(part)) for part in text.partition("\nend of trees")[0].split("\n\nTree="))
        present = presentation_of(head.get("objective", ""))
        if not trees or present is None or head["num_tree_per_iteration"] != "1" or "average_output" in head:
            return None
        if any(tree.get("is_linear", "0") != "0" for tree in trees) or not any(
            "split_feature" in tree for tree in trees
        ):
            return None
        leaves = max(int(tree["num_leaves"]) for tree in trees)
        bits = next((bits for bits in _WORDS if 1 < leaves <= bits), 0)
        if not bits or table_bytes(trees, bits) > MAX_BYTES:
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
