"""How labels of one kind follow from predictions: what is learnt of them, and how they are drawn from it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from expectations.families import Matrix, Scores, Vector
from expectations.metrics import Array
from tasks.evaluation.scaling import newton

CLIP = 1e-6
"""Least probability that a logarithm is taken of."""
PRIOR = 8.0
"""Rows that the prior of a line of log-odds weighs as much as."""
MAX_ROWS = 4000
"""Rows of a window that labels are drawn for; of more, as many evenly spread ones stand for all."""


class LinearRate(NamedTuple):
    """What is learnt of predictions alone.

    Attributes
    ----------
    parameters : tuple of float
        Intercepts, then the slope.
    covariance : tuple of float
        Of the parameters: the upper triangle, row by row.
    """

    parameters: tuple[float, ...]
    covariance: tuple[float, ...]


class LabelModel(ABC):
    """How labels of one kind follow.

    Linear scores have the shape (n_rows,), or (n_rows, n_classes) where predictions have.

    Attributes
    ----------
    max_learnt, max_drawn : int
        Rows that are learnt from, and that labels are drawn for; of more, as many evenly spread ones.
    tree_scale : float
        Times what trees add to the linear scores that they say.
    """

    max_learnt: int = 20_000
    max_drawn: int = MAX_ROWS
    tree_scale: ClassVar[float] = 1.0

    # --- learning ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def usable(self, prediction: Scores, label: Vector) -> npt.NDArray[np.bool_]:
        """Return which rows can be learnt from, shape (n_rows,)."""

    def learnable(self, prediction: Scores, label: Vector) -> bool:
        """Whether usable rows show anything to learn."""
        del prediction, label
        return True

    @abstractmethod
    def fit_line(self, prediction: Scores, label: Vector) -> LinearRate:
        """Learn the line."""

    @abstractmethod
    def start(self, parameters: Sequence[float], prediction: Scores) -> Array:
        """Return linear scores by the line alone."""

    @abstractmethod
    def tree_settings(self) -> Mapping[str, Any] | None:
        """Return LightGBM's objective; None where no trees are to be tried."""

    def tree_rows(self, start: Array, prediction: Scores, label: Vector) -> tuple[Vector, Array]:
        """Return what trees learn, and the scores that they begin with."""
        del prediction
        return label, start

    @abstractmethod
    def deviance(self, linear: Array, prediction: Scores, label: Vector) -> Array:
        """Return minus the logarithm of each label's likelihood, shape (n_rows,)."""

    @abstractmethod
    def left(self, linear: Array, prediction: Scores, label: Vector) -> Array:
        """Return what labels differ by from what is expected, shape (n_rows,) or (n_rows, n_classes)."""

    def ratios(self, linear: Array, prediction: Scores, label: Vector) -> Array:
        """Return errors over their expected size that are drawn again; none where labels are classes."""
        del linear, prediction, label
        return np.empty(0)

    # --- drawing ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def draw(
        self, linear: Array, prediction: Scores, residuals: Sequence[float], random: np.random.Generator, draws: int
    ) -> Array:
        """Draw labels, shape (draws, n_rows)."""

    @abstractmethod
    def draw_unsure(
        self,
        linear: Array,
        prediction: Scores,
        line: LinearRate,
        residuals: Sequence[float],
        random: np.random.Generator,
        draws: int,
    ) -> Array:
        """Draw labels, shape (draws, n_rows); what is not certain of the line varies from draw to draw."""

    # --- contradictions ---------------------------------------------------------------------------------------------

    @abstractmethod
    def scores(self, linear: Array, prediction: Scores, columns: Matrix, labels: Array) -> Array:
        """Return score statistics (Rao 1948) of labels against columns, and last the size of what is left.

        Parameters
        ----------
        columns : ndarray of shape (n_rows, n_columns)
        labels : ndarray of shape (n_samples, n_rows)

        Returns
        -------
        ndarray of shape (n_samples, n_statistics)
        """


class OneScoreLabels(LabelModel):
    """Labels whose prediction is one number."""

    @abstractmethod
    def axis(self, prediction: Vector) -> Array:
        """Return what the line is drawn over."""

    def start(self, parameters: Sequence[float], prediction: Scores) -> Array:
        """Return the line."""
        return np.asarray(parameters[0] + parameters[1] * self.axis(prediction))

    def draw_unsure(
        self,
        linear: Array,
        prediction: Scores,
        line: LinearRate,
        residuals: Sequence[float],
        random: np.random.Generator,
        draws: int,
    ) -> Array:
        """Draw intercept and slope, then labels."""
        first, both, second = line.covariance
        start, slope = random.standard_normal((2, draws, 1))
        tied = both / first if first > 0 else 0.0
        slope = tied * math.sqrt(first) * start + math.sqrt(max(0.0, second - tied * both)) * slope
        scores = linear + math.sqrt(first) * start + slope * self.axis(prediction)
        return self.draw(scores, prediction, residuals, random, draws)


class BinaryLabels(OneScoreLabels):
    """0 and 1: the linear score is the log-odds of a positive label (Platt 2000)."""

    def axis(self, prediction: Vector) -> Array:
        """Return the logit of a prediction."""
        chance = np.clip(prediction, CLIP, 1 - CLIP)
        return np.asarray(np.log(chance) - np.log1p(-chance))

    def usable(self, prediction: Scores, label: Vector) -> npt.NDArray[np.bool_]:
        """Return where both are numbers."""
        return np.isfinite(prediction) & np.isfinite(label) & (np.abs(label) < 1e100)

    def fit_line(self, prediction: Scores, label: Vector) -> LinearRate:
        """Fit intercept and slope by Newton's method, with a prior towards 0 and 1."""
        rows = np.column_stack([np.ones(len(label)), self.axis(prediction)])
        rest, precision = np.array([0.0, 1.0]), np.eye(2) * PRIOR / 4

        def lost(line: Array) -> float:
            fits = self.deviance(rows @ line, prediction, label).sum()
            return float(fits + (line - rest) @ precision @ (line - rest) / 2)

        def derivatives(line: Array) -> tuple[Array, Array]:
            chance = logistic(rows @ line)
            hessian = rows.T @ (rows * (chance * (1 - chance))[:, None]) + precision
            return rows.T @ (label - chance) - precision @ (line - rest), hessian

        line, hessian = newton(rest, lost, derivatives)
        covariance = np.linalg.inv(hessian)
        return LinearRate((float(line[0]), float(line[1])), (covariance[0, 0], covariance[0, 1], covariance[1, 1]))

    def tree_settings(self) -> Mapping[str, Any]:
        """Return the objective of log-odds."""
        return {"objective": "binary"}

    def deviance(self, linear: Array, prediction: Scores, label: Vector) -> Array:
        """Return the logarithmic loss."""
        del prediction
        return np.asarray(np.logaddexp(0.0, linear) - label * linear)

    def left(self, linear: Array, prediction: Scores, label: Vector) -> Array:
        """Return labels less their chance."""
        del prediction
        return np.asarray(label - logistic(linear))

    def draw(
        self, linear: Array, prediction: Scores, residuals: Sequence[float], random: np.random.Generator, draws: int
    ) -> Array:
        """Toss coins."""
        del residuals
        return np.asarray(random.random((draws, len(prediction))) < logistic(linear), dtype=np.float64)

    def scores(self, linear: Array, prediction: Scores, columns: Matrix, labels: Array) -> Array:
        """Return what is left along the columns, and the mean deviance."""
        size = self.deviance(linear, prediction, labels)
        return np.column_stack([self.left(linear, prediction, labels) @ columns, size.mean(axis=1)])


class ValueLabels(OneScoreLabels):
    """Values: the linear score is the logarithm of the size of an error, the line is level."""

    tree_scale: ClassVar = 0.5  # trees learn squares

    def axis(self, prediction: Vector) -> Array:
        """Return nothing but zeros."""
        return np.zeros(len(prediction))

    def usable(self, prediction: Scores, label: Vector) -> npt.NDArray[np.bool_]:
        """Return where both are numbers that can be squared."""
        return np.isfinite(prediction) & np.isfinite(label) & (np.abs(label) < 1e100)

    def learnable(self, prediction: Scores, label: Vector) -> bool:
        """Whether there is any error."""
        return bool(np.any(label != prediction))

    def fit_line(self, prediction: Scores, label: Vector) -> LinearRate:
        """Return the logarithm of the root mean square error."""
        scale = _root_mean_square(label - prediction)
        variance = float(np.square((label - prediction) / scale).var()) / (4 * len(label))  # of its logarithm
        return LinearRate((math.log(scale), 0.0), (variance, 0.0, 0.0))

    def tree_settings(self) -> Mapping[str, Any]:
        """Return the objective of squares."""
        return {"objective": "gamma"}

    def tree_rows(self, start: Array, prediction: Scores, label: Vector) -> tuple[Vector, Array]:
        """Return squares, scaled so that floats suffice: gamma's gradients are of a ratio."""
        scale = _root_mean_square(label - prediction)
        return np.maximum(np.square((label - prediction) / scale), 1e-12), 2 * (start - math.log(scale))

    def deviance(self, linear: Array, prediction: Scores, label: Vector) -> Array:
        """Return that of normal errors."""
        return np.asarray(np.square((label - prediction) * np.exp(-linear)) / 2 + linear)

    def left(self, linear: Array, prediction: Scores, label: Vector) -> Array:
        """Return the size of errors over the expected one."""
        return np.asarray(np.abs(label - prediction) / np.exp(linear))

    def ratios(self, linear: Array, prediction: Scores, label: Vector) -> Array:
        """Return errors over their expected size."""
        return np.asarray((label - prediction) / np.exp(linear))

    def draw(
        self, linear: Array, prediction: Scores, residuals: Sequence[float], random: np.random.Generator, draws: int
    ) -> Array:
        """Draw errors that were seen, times their expected size here."""
        drawn = random.choice(np.array(residuals), (draws, len(prediction)))
        return np.asarray(prediction + drawn * np.exp(linear))

    def scores(self, linear: Array, prediction: Scores, columns: Matrix, labels: Array) -> Array:
        """Return errors along the columns, and the mean logarithm of their size."""
        left = np.clip((labels - prediction) * np.exp(-linear), -6.0, 6.0)
        return np.column_stack([left @ columns, np.log(np.abs(left) + 0.1).mean(axis=1)])


def logistic(values: Array) -> Array:
    """Return probabilities of log-odds."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -700.0, 700.0))))


def _root_mean_square(errors: Array) -> float:
    return max(float(np.sqrt(np.square(errors).mean())), 1e-100)
