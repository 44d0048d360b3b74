"""A paired interval for the difference of a metric between two models, by resampling blocks of time.

Rows close in time share their causes (one storm delays every flight of a day), so whole blocks are drawn with
replacement, the same ones for both models: the block bootstrap (Künsch, 1989), percentile interval
(Efron and Tibshirani, 1993).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from expectations.gates import Interval
from expectations.metrics import Array, Blocks, Scored
from expectations.usecase import UseCase
from tasks.evaluation.metrics import resampled

MIN_BLOCKS = 10
_MAX_RUNS = 200
"""Blocks that independent rows are gathered into, at most: more would add nothing."""
_INSTANT = 1e-3


def in_time(times: pl.Series, spec: UseCase, units: Blocks | None = None) -> tuple[Array, float]:
    """Return when rows were, and how long a block of time is in which they share their causes, both in seconds.

    Without a clock rows are taken as independent of each other, in the order they came: a thousandth of a second each,
    so that blocks are rows (runs of them, where there are many) and no part of the calendar differs between them.

    Parameters
    ----------
    units : ndarray of shape (n_rows,), optional
        What of rows without a clock is independent (`splits.units_of`); each row where not given.
    """
    if spec.timed:
        return times.dt.epoch("us").to_numpy().astype(np.float64) / 1e6, spec.evaluation.block.approximate_seconds
    place = ((times.rank("ordinal") - 1).to_numpy() if units is None else units).astype(np.float64)
    runs = max(1.0, np.ceil((place.max(initial=0) + 1) / _MAX_RUNS))
    return place * _INSTANT, _INSTANT * runs * (1 - 1e-9)


def time_blocks(seconds: Array, length: float) -> Blocks:
    """Give each row the number of its block.

    Parameters
    ----------
    seconds : ndarray of shape (n_rows,)
        Event times.
    length : float
        Seconds in a block. Where that gives fewer than ten blocks, the rows are cut into ten equal runs instead.

    Returns
    -------
    ndarray of shape (n_rows,)
        0 … n_blocks - 1.
    """
    _, blocks = np.unique(np.floor_divide(seconds, length), return_inverse=True)
    if blocks.max(initial=0) + 1 < MIN_BLOCKS:
        blocks = np.empty(len(seconds), dtype=np.int64)
        blocks[np.argsort(seconds, kind="stable")] = np.arange(len(seconds)) * MIN_BLOCKS // max(len(seconds), 1)
    return blocks.astype(np.int64)


def paired_interval(
    metric: str,
    challenger: Scored,
    champion: Scored,
    blocks: Blocks,
    *,
    greater_is_better: bool,
    resamples: int,
    confidence: float,
    seed: int,
) -> Interval:
    """Estimate the challenger's gain over the champion on the same rows.

    Raises
    ------
    ValueError
        If the two were not scored on the same labels.
    """
    gain = paired_gain(
        metric, challenger, champion, blocks, greater_is_better=greater_is_better, resamples=resamples, seed=seed
    )
    return _interval(gain, confidence)


def paired_gain(
    metric: str,
    challenger: Scored,
    champion: Scored,
    blocks: Blocks,
    *,
    greater_is_better: bool,
    resamples: int,
    seed: int,
) -> Array:
    """Return the challenger's gain over the champion on the same rows, then that of each resample of the blocks.

    Returns
    -------
    ndarray of shape (1 + n_resamples,)
        NaN where the metric of either is not finite.

    Raises
    ------
    ValueError
        If the two were not scored on the same labels.
    """
    if not np.array_equal(challenger.label, champion.label):
        raise ValueError("a paired interval needs both models scored on the same rows")
    draws = [_resampled(metric, rows, blocks, resamples, seed) for rows in (challenger, champion)]
    return _difference(*draws) * (1.0 if greater_is_better else -1.0)


def value_interval(
    metric: str, rows: Scored, blocks: Blocks, *, resamples: int = 200, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the bounds of a metric's value, by resampling blocks; infinite where it is not defined on some of them."""
    values = _difference(drawn := _resampled(metric, rows, blocks, resamples, seed), np.zeros_like(drawn))
    found = _interval(values, confidence)
    return found.lower, found.upper


def unpaired_interval(
    metric: str,
    challenger: Scored,
    champion: Scored,
    blocks: Blocks,
    champion_blocks: Blocks,
    *,
    greater_is_better: bool,
    resamples: int,
    confidence: float,
    seed: int,
) -> Interval:
    """Estimate the challenger's gain over the champion where each was scored on rows of its own."""
    own = _resampled(metric, challenger, blocks, resamples, seed)
    theirs = _resampled(metric, champion, champion_blocks, resamples, seed + 1)
    return _interval(_difference(own, theirs) * (1.0 if greater_is_better else -1.0), confidence)


def _resampled(metric: str, rows: Scored, blocks: Blocks, resamples: int, seed: int) -> Array:
    """Return a metric over all rows, then over each resample of the blocks; the same seed draws the same blocks."""
    n_blocks = int(blocks.max()) + 1
    weights = np.random.default_rng(seed).multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), resamples)
    drawn = np.vstack([np.ones((1, n_blocks)), weights.astype(np.float64)])
    return resampled(metric, rows, blocks, n_blocks, drawn)


def _difference(own: Array, theirs: Array) -> Array:
    """Return the gain of each resample; NaN where either value is not finite."""
    known = np.isfinite(own) & np.isfinite(theirs)
    return np.where(known, np.subtract(own, theirs, where=known, out=np.zeros_like(own)), np.nan)


def _interval(gain: Array, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    drawn = gain[1:]
    known = np.isfinite(drawn)
    if known.all():
        lower, upper = np.quantile(drawn, [tail, 1 - tail])
    else:  # a resample without a positive row has no area under its curve: it may be on either side
        lower = np.quantile(np.where(known, drawn, -np.inf), tail, method="lower")
        upper = np.quantile(np.where(known, drawn, np.inf), 1 - tail, method="higher")
    return Interval(float(gain[0]), float(lower), float(upper))
