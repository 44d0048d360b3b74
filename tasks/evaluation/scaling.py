"""Probabilities of several classes as softmax of scores, and how they are to be read (Guo et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from expectations.families import Scores, Vector
from expectations.metrics import Array

LEAST = 1e-9
"""Least probability that a logarithm is taken of; a model too sure of itself says such, and its slope shows there."""


def scale_classes(
    prediction: Scores, label: Vector, precision: Array, weight: Array | None = None
) -> tuple[Array, Array]:
    """Fit an intercept for each class and one slope over the logarithms of probabilities: vector scaling.

    Parameters
    ----------
    prediction : ndarray of shape (n_rows, n_classes)
    label : ndarray of shape (n_rows,)
        The place of a class.
    precision : ndarray of shape (n_classes + 1,)
        Of the prior around intercepts of zero and a slope of one, in rows.
    weight : ndarray of shape (n_rows,), optional

    Returns
    -------
    line : ndarray of shape (n_classes + 1,)
        Intercepts, then the slope.
    hessian : ndarray of shape (n_classes + 1, n_classes + 1)
    """
    classes = prediction.shape[1]
    axis, target = log_chances(prediction), one_hot(label, classes)
    rest = np.append(np.zeros(classes), 1.0)
    each = np.ones(len(label)) if weight is None else weight

    def lost(line: Array) -> float:
        fits = each @ log_losses(line[:-1] + line[-1] * axis, label)
        return float(fits + precision @ np.square(line - rest) / 2)

    def derivatives(line: Array) -> tuple[Array, Array]:
        chance = softmax(line[:-1] + line[-1] * axis)
        left, some = each[:, None] * (target - chance), each[:, None] * chance
        gradient = np.append(left.sum(axis=0), float((left * axis).sum())) - precision * (line - rest)
        centred = axis - (chance * axis).sum(axis=1, keepdims=True)
        hessian = np.diag(precision)
        hessian[:-1, :-1] += np.diag(some.sum(axis=0)) - some.T @ chance
        hessian[:-1, -1] = hessian[-1, :-1] = (some * centred).sum(axis=0)
        hessian[-1, -1] += float((some * np.square(centred)).sum())
        return gradient, hessian

    return newton(rest, lost, derivatives)


def newton(
    start: Array, lost: Callable[[Array], float], derivatives: Callable[[Array], tuple[Array, Array]]
) -> tuple[Array, Array]:
    """Find the least of a convex loss by Newton's method; a step that loses more is halved.

    Parameters
    ----------
    derivatives : callable
        Of the parameters: the direction in which less is lost, and the matrix of second derivatives.

    Returns
    -------
    parameters, hessian : ndarray
    """
    found = start.copy()
    for _ in range(50):
        gradient, hessian = derivatives(found)
        step = np.clip(np.linalg.solve(hessian, gradient), -2.0, 2.0)
        while float(np.abs(step).max()) > 1e-10 and lost(found + step) > lost(found):
            step = step / 2
        found = found + step
        if float(np.abs(step).max()) < 1e-10:
            break
    return found, hessian


def log_chances(prediction: Scores) -> Array:
    """Return the logarithms of probabilities."""
    return np.asarray(np.log(np.clip(prediction, LEAST, 1.0)))


def softmax(linear: Array) -> Array:
    """Return probabilities that sum to one, shape (n_rows, n_classes)."""
    powers = np.exp(linear - linear.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def one_hot(label: Vector, classes: int) -> Array:
    """Return 1 for the class and 0 for all others, shape (n_rows, n_classes); zeros of a class beyond them."""
    return np.asarray(label[:, None] == np.arange(classes), dtype=np.float64)


def log_losses(linear: Array, label: Vector) -> Array:
    """Return minus the logarithm of each label's probability, shape (n_rows,)."""
    scaled = linear - linear.max(axis=1, keepdims=True)
    given = scaled[np.arange(len(label)), label.astype(np.int64)]
    return np.asarray(np.log(np.exp(scaled).sum(axis=1)) - given)
