"""Links: what makes predictions of raw scores, in plain floats, so that one row and many agree to the last bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from expectations.families import Scores


def sigmoid(scores: Sequence[float], slope: float = 1.0) -> list[float]:
    """Return the probabilities of log-odds times `slope`."""
    exp, slope = math.exp, -slope  # the C library's, as LightGBM's; NumPy's own differs in the last bit
    try:
        return [1.0 / (1.0 + exp(slope * score)) for score in scores]
    except OverflowError:
        return [1.0 / (1.0 + _exp(slope * score)) for score in scores]


def exponential(scores: Sequence[float]) -> list[float]:
    """Return what scores are the logarithms of; infinity where that is too large."""
    return list(map(_exp, scores))


def softmax(scores: Sequence[float]) -> list[float]:
    """Return the probability of each class of one row's scores."""
    largest = max(scores)
    sizes = [math.exp(score - largest) for score in scores]
    total = math.fsum(sizes)
    return [size / total for size in sizes]


def softmax_rows(scores: Scores) -> Scores:
    """Return the probabilities of many rows' scores, shape (n_rows, n_classes): to the last bit those of `softmax`."""
    with np.errstate(invalid="ignore"):  # of rows with an infinite score the probabilities are NaN there, too
        away = scores - scores.max(axis=1, keepdims=True)
    sizes = elementwise(math.exp, away)
    return np.asarray(sizes / np.array([math.fsum(row) for row in sizes.tolist()])[:, None])


def elementwise(function: Callable[[float], float], values: Scores) -> Scores:
    """Return a function of the C library of each value, in the values' shape; NumPy's own differs in the last bit."""
    return np.fromiter(map(function, values.ravel().tolist()), np.float64, values.size).reshape(values.shape)


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
