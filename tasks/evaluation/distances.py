"""Distances of two discrete distributions, under Evidently's names."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def wasserstein(p: Array, q: Array, p_centres: Array, q_centres: Array, spread: float) -> float:
    """Wasserstein-1 distance of two discrete distributions over the reference's deviation.

    Parameters
    ----------
    p, q : ndarray of shape (n_bins,)
        Counts of reference and window.
    p_centres, q_centres : ndarray of shape (n_bins,)
        Where their mass lies.
    """
    places = np.concatenate([p_centres, q_centres])
    order = np.argsort(places, kind="stable")
    mass = np.concatenate([p / p.sum(), -q / q.sum()])[order]
    with np.errstate(over="ignore", invalid="ignore"):
        gaps = np.diff(places[order] / spread)
        return float(np.abs(np.cumsum(mass)[:-1] * gaps).sum())


def jensen_shannon(p: Array, q: Array) -> float:
    """Jensen-Shannon distance (square root of the divergence, natural logarithm) of counts."""
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2

    def relative(a: Array) -> float:
        ratio = np.divide(a, middle, out=np.ones_like(middle), where=(a > 0) & (middle > 0))
        return float((a * np.log(ratio)).sum())

    return math.sqrt(max(relative(p) + relative(q), 0) / 2)
