"""Labels that are one of several classes: the linear scores are logarithms of probabilities, up to a constant a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from expectations.families import Matrix, Scores, Vector
from expectations.metrics import Array
from tasks.evaluation.estimates.label_models import CLIP, MAX_ROWS, PRIOR, LabelModel, Line, newton

MAX_TREED = 20
"""With more classes no trees are tried: they are one a class and round."""
_LEAST = 1e-9
"""Least probability that a logarithm is taken of; a model too sure of itself says such, and its slope shows there."""
_CELLS = 100_000
"""Rows times classes that labels are drawn for."""


class ClassLabels(LabelModel):
    """One of several classes: an intercept for each, and one slope over the logarithms of the probabilities.

    That is vector scaling with one temperature (Guo et al. 2017), with a prior towards "as they are".
    """

    max_learnt = 8000

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.max_drawn = max(500, min(MAX_ROWS, _CELLS // classes))

    # --- learning ---------------------------------------------------------------------------------------------------

    def usable(self, prediction: Scores, label: Vector) -> npt.NDArray[np.bool_]:
        """Return where probabilities are numbers and the label is a class that the model knows."""
        return np.isfinite(prediction).all(axis=1) & (label >= 0) & (label < self.classes)

    def start(self, parameters: Sequence[float], prediction: Scores) -> Array:
        """Return intercepts and slope times the logarithm of each probability, shape (n_rows, n_classes)."""
        line = np.array(parameters)
        return np.asarray(line[:-1] + line[-1] * log_chances(prediction))

    def fit_line(self, prediction: Scores, label: Vector) -> Line:
        """Fit by Newton's method; the prior is that of two classes, `PRIOR`."""
        axis, target = log_chances(prediction), one_hot(label, self.classes)
        rest = np.append(np.zeros(self.classes), 1.0)
        precision = np.append(np.full(self.classes, PRIOR / 2), PRIOR / 4)

        def lost(line: Array) -> float:
            fits = self.deviance(line[:-1] + line[-1] * axis, prediction, label).sum()
            return float(fits + precision @ np.square(line - rest) / 2)

        def derivatives(line: Array) -> tuple[Array, Array]:
            chance = softmax(line[:-1] + line[-1] * axis)
            left = target - chance
            gradient = np.append(left.sum(axis=0), float((left * axis).sum())) - precision * (line - rest)
            mean = (chance * axis).sum(axis=1, keepdims=True)
            hessian = np.diag(precision)
            hessian[:-1, :-1] += np.diag(chance.sum(axis=0)) - chance.T @ chance
            hessian[:-1, -1] = hessian[-1, :-1] = (chance * (axis - mean)).sum(axis=0)
            hessian[-1, -1] += float((chance * np.square(axis - mean)).sum())
            return gradient, hessian

        line, hessian = newton(rest, lost, derivatives)
        covariance = np.linalg.inv(hessian)[np.triu_indices(self.classes + 1)]
        return Line(tuple(map(float, line)), tuple(map(float, covariance)))

    def tree_settings(self) -> Mapping[str, Any] | None:
        """Return the objective of softmax."""
        if self.classes > MAX_TREED:
            return None
        return {"objective": "multiclass", "num_class": self.classes}

    def deviance(self, linear: Array, prediction: Scores, label: Vector) -> Array:
        """Return the logarithmic loss; a class that the model never saw has the least probability."""
        del prediction
        known = label < self.classes
        scaled = linear - linear.max(axis=1, keepdims=True)
        given = scaled[np.arange(len(label)), np.where(known, label, 0).astype(np.int64)]
        return np.asarray(np.where(known, np.log(np.exp(scaled).sum(axis=1)) - given, -np.log(CLIP)))

    def left(self, linear: Array, prediction: Scores, label: Vector) -> Array:
        """Return 1 for the class and 0 for all others, less the chances."""
        del prediction
        return np.asarray(one_hot(label, self.classes) - softmax(linear))

    # --- drawing ----------------------------------------------------------------------------------------------------

    def draw(
        self, linear: Array, prediction: Scores, residuals: Sequence[float], random: np.random.Generator, draws: int
    ) -> Array:
        """Draw a class a row."""
        del prediction, residuals
        reached = np.cumsum(softmax(linear), axis=1)
        return np.stack([_class_at(reached, random) for _ in range(draws)])

    def draw_unsure(
        self,
        linear: Array,
        prediction: Scores,
        line: Line,
        residuals: Sequence[float],
        random: np.random.Generator,
        draws: int,
    ) -> Array:
        """Draw intercepts and slope, then classes."""
        del residuals
        axis, width = log_chances(prediction), self.classes + 1
        covariance = np.zeros((width, width))
        covariance[np.triu_indices(width)] = line.covariance
        covariance = covariance + np.triu(covariance, 1).T
        moved = np.linalg.cholesky(covariance) @ random.standard_normal((width, draws))
        return np.stack(
            [_class_at(np.cumsum(softmax(linear + each[:-1] + each[-1] * axis), axis=1), random) for each in moved.T]
        )

    # --- contradictions ---------------------------------------------------------------------------------------------

    def scores(self, linear: Array, prediction: Scores, columns: Matrix, labels: Array) -> Array:
        """Return what is left of each class along the columns, and the mean deviance."""
        expected = softmax(linear).T @ columns
        found = []
        for label in labels:
            along = one_hot(label, self.classes).T @ columns - expected
            found.append(np.append(along.ravel(), self.deviance(linear, prediction, label).mean()))
        return np.stack(found)


def log_chances(prediction: Scores) -> Array:
    """Return the logarithms of probabilities."""
    return np.asarray(np.log(np.clip(prediction, _LEAST, 1.0)))


def softmax(linear: Array) -> Array:
    """Return probabilities that sum to one, shape (n_rows, n_classes)."""
    powers = np.exp(linear - linear.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def one_hot(label: Vector, classes: int) -> Array:
    """Return 1 for the class and 0 for all others, shape (n_rows, n_classes); zeros of a class beyond them."""
    return np.asarray(label[:, None] == np.arange(classes), dtype=np.float64)


def _class_at(reached: Array, random: np.random.Generator) -> Array:
    """Draw a class a row from cumulated probabilities."""
    tossed = random.random((len(reached), 1)) * reached[:, -1:]
    return np.asarray((reached[:, :-1] <= tossed).sum(axis=1), dtype=np.float64)
