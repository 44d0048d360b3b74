"""Resamples of blocks of time, and how far a difference may lie from nothing by chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from expectations.metrics import Array, Blocks
from tasks.evaluation.causes.rows import PeriodRows
from tasks.evaluation.fault_units import Mask
from tasks.evaluation.interval import time_blocks

_REPLICATES = 200
_BLOCKS = 5
"""With fewer blocks of time, ten equal runs of rows stand in."""
PART_CONFIDENCE = 0.95
_STRETCHES = 5
"""Stretches of time that a window is as long as, by which earlier rows are compared among themselves."""


@dataclass(frozen=True)
class Side:
    """A period's rows with their loss and resamples of their blocks."""

    rows: PeriodRows
    loss: Array
    blocks: Blocks
    draws: Array

    @classmethod
    def of(cls, rows: PeriodRows, loss: Array, block: float, seed: int) -> Side:
        """Resample blocks of so many seconds; runs of rows where these are few."""
        _, blocks = np.unique(np.floor_divide(rows.seconds, block), return_inverse=True)
        if blocks.max() + 1 < _BLOCKS:
            blocks = time_blocks(rows.seconds, block)
        number = int(blocks.max()) + 1
        drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), _REPLICATES)
        return cls(rows, loss, blocks, np.vstack([np.ones((1, number)), drawn]).astype(np.float64))

    def sums(self, values: Array) -> Array:
        """Sum up over all rows, then over each resample: shape (1 + n_replicates,)."""
        return self.draws @ np.bincount(self.blocks, weights=values, minlength=self.draws.shape[1])

    def mean(self, values: Array, weights: Array | None = None) -> Array:
        """Return the mean over all rows, then over each resample."""
        if weights is None:
            weights = np.ones(len(values))
        return self.sums(values * weights) / np.maximum(self.sums(weights), 1e-12)

    def where(self, rows: Mask) -> Side:
        """Return some of the rows; resamples draw the same blocks."""
        return Side(self.rows.where(rows), self.loss[rows], self.blocks[rows], self.draws)


@dataclass(frozen=True)
class Chance:
    """How far a difference may lie from nothing by chance."""

    inflation: float
    freedom: int

    def interval(self, drawn: Array, confidence: float) -> tuple[float, float]:
        """Return the bounds of what was drawn: the value first, then its resamples."""
        from scipy.stats import t

        reach = float(t.ppf((1 + confidence) / 2, self.freedom)) * float(np.std(drawn[1:])) * self.inflation
        return float(drawn[0]) - reach, float(drawn[0]) + reach

    def beyond(self, drawn: Array, confidence: float = PART_CONFIDENCE) -> bool:
        """Whether it is not nothing."""
        lower, upper = self.interval(drawn, confidence)
        return lower > 0 or upper < 0


def chance_of(old: Side, new: Side, total: Array) -> Chance:
    """Say how much wider intervals have to be than those of blocks, as earlier stretches of time differ."""
    freedom = min(old.draws.shape[1], new.draws.shape[1]) - 1
    span = float(np.ptp(new.rows.seconds)) / _STRETCHES
    spread = float(np.std(total[1:]))
    if span <= 0 or spread <= 0:
        return Chance(1.0, freedom)
    _, stretch = np.unique(np.floor_divide(old.rows.seconds, span), return_inverse=True)
    counts = np.bincount(stretch)
    kept = counts >= 0.3 * np.median(counts)
    means = (np.bincount(stretch, weights=old.loss) / counts)[kept]
    if len(means) <= _STRETCHES:
        return Chance(1.0, freedom)
    wide = float(np.std(means, ddof=1)) * math.sqrt(1 / _STRETCHES + 1 / len(means))
    return Chance(max(1.0, wide / spread), len(means) - 1 if wide > spread else freedom)
