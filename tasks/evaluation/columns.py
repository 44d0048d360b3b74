"""How the values of a column are counted, and what was counted of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import ndtr

from tasks.evaluation.constancy import Repeats

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
SCORES: Array = ndtr(np.linspace(-3.1, 3.1, 31))
MAX_CATEGORIES = 20
MAX_KNOWN = 1000
"""Most different categories of a column that are remembered; with more of them, none counts as new."""
_EDGE_ROWS = 100_000
_FAR = 4.0


@dataclass(frozen=True)
class Column:
    """How the values of a column are counted.

    Attributes
    ----------
    edges : ndarray of shape (n_bins - 1,)
        A value equal to an edge belongs to the bin above; none for categories.
    categories, known : tuple of str
        The commonest ones, and all of the reference (none where there are more than 1,000).
    least, greatest : float
        Of the finite values of the reference.
    mean, spread : float
        Mean and standard deviation of the reference, measured as `measure` does: one outlier does not decide them.
    centres : ndarray of shape (n_bins,)
        Mean of the reference's values in each bin, measured likewise.
    repeats : Repeats or None
        How its values follow each other; None of a sketch from before that was counted.
    """

    kind: Literal["number", "category"]
    edges: Array
    categories: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    least: float = math.nan
    greatest: float = math.nan
    mean: float = math.nan
    spread: float = math.nan
    centres: Array = field(default_factory=lambda: np.zeros(0))
    repeats: Repeats | None = None

    @property
    def bins(self) -> int:
        """How many bins values fall into."""
        return len(self.edges) + 1 if self.kind == "number" else len(self.categories) + 1

    @property
    def middle(self) -> float:
        """The edge in the middle, about the reference's median."""
        return float(self.edges[len(self.edges) // 2])

    def measure(self, numbers: Array) -> Array:
        """Measure numbers from the middle edge, in distances of the outermost edges and at most four of them."""
        half = float(self.edges[-1] / 2 - self.edges[0] / 2) or abs(self.middle) / 2 or 1.0
        with np.errstate(over="ignore"):
            return np.asarray(np.clip((numbers / 2 - self.middle / 2) / half, -_FAR, _FAR))


@dataclass(frozen=True)
class Tally:
    """A column over the units of a sample.

    Attributes
    ----------
    counts : ndarray of shape (n_units, n_bins)
    missing, outside : ndarray of shape (n_units,)
        Outside are numbers beyond the reference's least and greatest and categories it never had; in the reference
        itself, what no *other* unit of it has, which is how many to expect where nothing changed.
    sums : ndarray of shape (n_bins,)
        Sum of the values in each bin over all units, as `Column.measure` measures them.
    square : float
        Sum of their squares.
    cycle : float
        How much more the hour of day says about the values than it would by chance (1: nothing); of a reference.
    """

    counts: Counts
    missing: Counts
    outside: Counts
    sums: Array
    square: float = 0.0
    cycle: float = 1.0


def describe(values: pl.Series, more: pl.Series | None = None) -> Column:
    """Say how a column is counted, by its values in the reference.

    Parameters
    ----------
    more : polars.Series, optional
        A window's values: half of the edges are then its quantiles, for a reference too short to resolve them.
    """
    return replace(_described(values, more), repeats=Repeats.of(values))


def _described(values: pl.Series, more: pl.Series | None) -> Column:
    if not (values.dtype.is_numeric() or values.dtype == pl.Null):
        texts = values.drop_nulls().cast(pl.String).alias("value")
        tally = texts.value_counts(name="count").sort(["count", "value"], descending=[True, False])
        names = tally["value"].head(MAX_KNOWN + 1).to_list()
        known = tuple(names) if len(names) <= MAX_KNOWN else ()
        return Column("category", np.zeros(0), tuple(names[:MAX_CATEGORIES]), known)
    numbers = finite(values)
    if not len(numbers):
        return Column("number", np.zeros(0), centres=np.zeros(1))
    if more is None:
        edges = _quantiles(numbers, SCORES)
    else:
        joint = [_quantiles(each, SCORES[start::2]) for start, each in ((0, numbers), (1, finite(more))) if len(each)]
        edges = np.unique(np.concatenate(joint))
    return Column("number", edges, (), (), float(numbers.min()), float(numbers.max()))


def settle(column: Column, tally: Tally) -> Column:
    """Take mean, spread and centres of a reference from what was counted of it."""
    counts, total = tally.counts.sum(0), int(tally.counts.sum())
    if column.kind == "category" or not total or not len(column.edges):
        return column
    mean = float(tally.sums.sum()) / total
    spread = math.sqrt(max(tally.square / total - mean**2, 0.0))
    spread = spread if column.edges[-1] > column.edges[0] else 0.0
    fallback = column.measure(np.concatenate([column.edges[:1], column.edges]))
    centres = np.where(counts > 0, tally.sums / np.maximum(counts, 1), fallback)
    return replace(column, mean=mean, spread=spread, centres=centres)


def _quantiles(numbers: Array, shares: Array) -> Array:
    """Different quantiles, of every k-th number where there are many: an edge needs no exact place."""
    ordered = np.sort(numbers[:: max(1, len(numbers) // _EDGE_ROWS)])
    return np.unique(ordered[np.minimum((shares * len(ordered)).astype(np.int64), len(ordered) - 1)])


def finite(values: pl.Series) -> Array:
    """Finite numbers of a column, in its order."""
    numbers: Array = values.cast(pl.Float64, strict=False).drop_nulls().to_numpy()
    return numbers[np.isfinite(numbers)]
