"""Labels that are one of several classes: the linear scores are logarithms of probabilities, up to a constant a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from expectations.families import Matrix, Scores, Vector
from expectations.metrics import Array
from tasks.evaluation.estimates.label_models import CLIP, MAX_ROWS, PRIOR, LabelModel, LinearRate
from tasks.evaluation.scaling import log_chances, log_losses, one_hot, scale_classes, softmax

MAX_TREED = 20
"""With more classes no trees are tried: they are one a class and round."""
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

    def fit_line(self, prediction: Scores, label: Vector) -> LinearRate:
        """Fit by Newton's method; the prior is that of two classes, `PRIOR`."""
        precision = np.append(np.full(self.classes, PRIOR / 2), PRIOR / 4)
        line, hessian = scale_classes(prediction, label, precision)
        covariance = np.linalg.inv(hessian)[np.triu_indices(self.classes + 1)]
        return LinearRate(tuple(map(float, line)), tuple(map(float, covariance)))

    def tree_settings(self) -> Mapping[str, Any] | None:
        """Return the objective of softmax."""
        if self.classes > MAX_TREED:
            return None
        return {"objective": "multiclass", "num_class": self.classes}

    def deviance(self, linear: Array, prediction: Scores, label: Vector) -> Array:
        """Return the logarithmic loss; a class that the model never saw has the least probability."""
        del prediction
        known = label < self.classes
        found = log_losses(linear, np.where(known, label, 0))
        return np.asarray(np.where(known, found, -np.log(CLIP)))

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
        line: LinearRate,
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


def _class_at(reached: Array, random: np.random.Generator) -> Array:
    """Draw a class a row from cumulated probabilities."""
    tossed = random.random((len(reached), 1)) * reached[:, -1:]
    return np.asarray((reached[:, :-1] <= tossed).sum(axis=1), dtype=np.float64)
