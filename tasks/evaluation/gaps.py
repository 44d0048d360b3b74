"""How much smaller one model's loss is than another's on the same rows, and how certain that is.

The gap is a difference of logarithms of the loss. Its variance is that of its influence function over blocks of time
(the infinitesimal jackknife, Efron 1982): what a block's weight does to it, so any metric of weighted blocks has one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expectations.metrics import Array, Blocks, Scored
from tasks.evaluation.floors import least_loss
from tasks.evaluation.interval import MIN_BLOCKS
from tasks.evaluation.metrics import losses, resampled

_STEP = 1e-4
_SINGLE = 0.05
"""Variance where there is one block alone: nothing is known of it."""
_FEW = 1.25
"""Factor of a variance of fewer than ten blocks."""


@dataclass(frozen=True)
class LogOfLoss:
    """The logarithm of a loss over rows, and what a block's weight adds to it.

    Attributes
    ----------
    value : float
        NaN where the metric is not defined. A model that loses nothing is taken to lose the least that its rows can
        tell from nothing.
    influence : ndarray of shape (n_blocks,)
    """

    value: float
    influence: Array


def log_loss_of(metric: str, rows: Scored, blocks: Blocks) -> LogOfLoss:
    """Return the logarithm of the loss, and its derivative by the weight of each block."""
    n_blocks = int(blocks.max(initial=0)) + 1
    weights = np.ones((2 * n_blocks + 1, n_blocks))
    weights[1 : n_blocks + 1] += _STEP * np.eye(n_blocks)
    weights[n_blocks + 1 :] -= _STEP * np.eye(n_blocks)
    lost = np.maximum(
        losses(metric, resampled(metric, rows, blocks, n_blocks, weights)), least_loss(metric, rows.label)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(lost)
        value = float(logs[0]) if np.isfinite(logs[0]) else float("nan")
        influence = (logs[1 : n_blocks + 1] - logs[n_blocks + 1 :]) / (2 * _STEP)
    return LogOfLoss(value, influence)


def gap_of(champion: LogOfLoss, challenger: LogOfLoss) -> tuple[float, float]:
    """Return how much better the challenger is, as a difference of logarithms, and its variance."""
    n_blocks = len(champion.influence)
    gap = champion.value - challenger.value
    if n_blocks < 2:
        return gap, _SINGLE
    variance = float(((champion.influence - challenger.influence) ** 2).sum()) * n_blocks / (n_blocks - 1)
    return gap, variance * (_FEW if n_blocks < MIN_BLOCKS else 1.0)
