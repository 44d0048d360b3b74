"""The least loss that rows can show: the logarithm of a loss is taken, and a perfect model has none."""

from __future__ import annotations

import numpy as np

from expectations.metrics import Array
from expectations.slots import METRICS, PROBLEMS

_REGRESSION = 1e-6
"""Of a regression, in standard deviations of the label: far below what any measured label resolves."""


def least_loss(metric: str, truth: Array) -> float:
    """Return the smallest loss that is distinguished from none on rows with these labels; smaller ones count as this.

    Parameters
    ----------
    truth : ndarray of shape (n_rows,)

    Returns
    -------
    float
        Greater than zero. For a classifier what half a row adds to a share of rows, 1 / (2 n); for a regression 1e-6
        standard deviations of the label, or that squared where the loss is a share of the label's variance (any metric
        that is better the greater it is, such as R²), and 1e-6 where errors count in shares of the label. Labels that
        are all the same count by their magnitude.
    """
    part = METRICS.released(metric)
    if all(PROBLEMS.released(task).classifies for task in part.tasks):
        return 0.5 / max(len(truth), 1)
    if part.greater_is_better:
        return _REGRESSION**2
    if part.relative:
        return _REGRESSION
    known = truth[np.isfinite(truth)]
    if not len(known):
        return _REGRESSION
    spread = float(np.std(known))
    magnitude = float(np.abs(known).max())
    # rounding leaves constant labels a spread of some 1e-16 of their magnitude
    return _REGRESSION * (spread if spread > 1e-12 * magnitude else magnitude or 1.0)
