"""Figures with their intervals, all from the same resamples of blocks of time.

Sums over blocks are weighted, so that a resample costs no pass over the rows; see `tasks.evaluation.interval`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from expectations.metrics import Array, Blocks, Scored, sums
from tasks.evaluation.metrics import resampled

RESAMPLES = 200
_MIN_IN_TAIL = 2.5
_MAX_BLOCKS = 200
"""More blocks are joined with their neighbours: a longer block only widens an interval that is too narrow."""


@dataclass(frozen=True)
class Bounded:
    """A figure with its bounds; NaN where it is not defined, or a bound on some resamples."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


class Resamples:
    """Resamples of the blocks that rows lie in.

    Parameters
    ----------
    blocks : ndarray of shape (n_rows,)
        The block of each row, 0 to n_blocks - 1, numbered in time.
    confidence : float
    seed : int
    """

    def __init__(self, blocks: Blocks, *, confidence: float = 0.95, seed: int = 0, resamples: int = RESAMPLES) -> None:
        count = int(blocks.max(initial=-1)) + 1
        if count > _MAX_BLOCKS:
            blocks, count = blocks * _MAX_BLOCKS // count, _MAX_BLOCKS
        self.blocks, self.n_blocks, self.confidence = blocks, count, confidence
        drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples if count else 0)
        self.weights: Array = np.vstack([np.ones((1, count)), drawn.astype(np.float64)])
        """Shape (1 + n_resamples, n_blocks): all rows once, then each resample."""

    def total(self, values: Array, within: npt.NDArray[np.bool_] | None = None) -> Array:
        """Sum up values of rows, over all of them and over each resample, shape (1 + n_resamples,)."""
        kept = values if within is None else np.where(within, values, 0.0)
        return np.asarray(self.weights @ sums(kept, self.blocks, self.n_blocks))

    def table(self, values: Array, places: npt.NDArray[np.int64], n_places: int) -> Array:
        """Sum up values by the place each row has, shape (1 + n_resamples, n_places)."""
        cells = sums(values, self.blocks * n_places + places, self.n_blocks * n_places)
        return np.asarray(self.weights @ cells.reshape(self.n_blocks, n_places))

    def metric(self, name: str, rows: Scored, within: npt.NDArray[np.bool_] | None = None) -> Array:
        """Return a metric over the rows, or some of them, and over each resample, shape (1 + n_resamples,)."""
        if within is None:
            return resampled(name, rows, self.blocks, self.n_blocks, self.weights)
        some = Scored(rows.label[within], rows.prediction[within], rows.threshold)
        return resampled(name, some, self.blocks[within], self.n_blocks, self.weights)

    def bounded(self, draws: Array, confidence: float | None = None) -> Bounded:
        """Return the value over all rows with its bounds: percentiles over the resamples.

        Where the tails hold too few resamples, they are those of a normal distribution as wide.

        Parameters
        ----------
        draws : ndarray of shape (1 + n_resamples,)
        confidence : float, optional
            Another one than that of all.
        """
        value, drawn = float(draws[0]), draws[1:]
        known = np.isfinite(drawn)
        tail = (1 - (self.confidence if confidence is None else confidence)) / 2
        if not math.isfinite(value) or known.mean() < 1 - tail:  # resamples without a value may lie on either side
            return Bounded(value if math.isfinite(value) else math.nan)
        if tail * len(drawn) < _MIN_IN_TAIL:
            reach = NormalDist().inv_cdf(1 - tail) * float(drawn[known].std())
            return Bounded(value, value - reach, value + reach)
        low = np.quantile(np.where(known, drawn, -np.inf), tail, method="lower")
        high = np.quantile(np.where(known, drawn, np.inf), 1 - tail, method="higher")
        low, high = min(float(low), value), max(float(high), value)
        return Bounded(value, low if math.isfinite(low) else math.nan, high if math.isfinite(high) else math.nan)

    def many(self, draws: Array) -> list[Bounded]:
        """Return each column with its bounds.

        Parameters
        ----------
        draws : ndarray of shape (1 + n_resamples, n)
        """
        return [self.bounded(column) for column in draws.T]
