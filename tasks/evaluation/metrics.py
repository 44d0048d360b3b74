"""Metrics by name, over scored rows and over resamples of them."""

from __future__ import annotations

from functools import cache

import numpy as np

from expectations.metrics import Array, Blocks, Metric, Scored
from expectations.slots import METRICS

__all__ = ["Scored", "losses", "resampled", "score"]


@cache
def _metric(name: str) -> Metric:
    found = METRICS.find(name)
    if found is None:
        raise KeyError(name)
    return found(metric=name)


def score(metric: str, rows: Scored) -> float:
    """Value of a metric over rows; not a finite number where it is not defined.

    That is without rows, with one class only, or where a label or prediction is none or too large to be squared.
    """
    return float(resampled(metric, rows, np.zeros(len(rows.label), dtype=np.int64), 1, np.ones((1, 1)))[0])


def resampled(metric: str, rows: Scored, blocks: Blocks, n_blocks: int, weights: Array) -> Array:
    """Value of a metric with the blocks weighted, for each row of weights, shape (n_resamples,)."""
    with np.errstate(over="ignore", invalid="ignore"):  # the value shows it
        return _metric(metric).prepare(rows, blocks, n_blocks)(weights)


def losses(metric: str, values: Array) -> Array:
    """Return what is lost at values of a metric; see `Metric.losses`."""
    return _metric(metric).losses(values)
