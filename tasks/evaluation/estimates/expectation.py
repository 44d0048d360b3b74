"""What was learnt of labels: how they follow from predictions and features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from expectations.families import Matrix, Task, Vector
from expectations.metrics import Array
from expectations.problems import problem_of

CLIP = 1e-6


@dataclass(frozen=True)
class Expectation:
    """What was learnt about the labels of rows from their predictions and features.

    Attributes
    ----------
    line : tuple of float
        Intercept and slope over the logit of a prediction; of a regression the logarithm of the root mean square error,
        and 0.
    covariance : tuple of float
        Of the line: variance of the intercept, covariance, variance of the slope.
    trees : str
        LightGBM's text of what is added to the line by the features (of a regression, to its double); empty where
        nothing is.
    categorical : tuple of int
        Features that are codes of categories.
    residuals : tuple of float
        Errors of a regression over their expected size, in order.
    spread : mapping of str to float
        Metric -> standard deviation of the logarithm of realised over expected loss, over blocks of time.
    dependence : float
        Factor by which rows close in time make sums vary more than independent ones.
    ranges : tuple
        Least and largest value of each feature that was learnt from; None for a category or one without values.
    beyond : float
        Share of the rows that was beyond those of the rows before them.
    """

    task: Task
    rows: int
    line: tuple[float, float]
    covariance: tuple[float, float, float]
    trees: str = ""
    categorical: tuple[int, ...] = ()
    residuals: tuple[float, ...] = ()
    spread: Mapping[str, float] = field(default_factory=dict)
    dependence: float = 1.0
    ranges: tuple[tuple[float, float] | None, ...] = ()
    beyond: float = 0.0

    @property
    def binary(self) -> bool:
        """Whether labels are 0 and 1; else they are values."""
        return problem_of(self.task).classifies

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return {"format": 1, **vars(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Expectation:
        """Return what `to_dict` was made of."""
        return cls(
            content["task"],
            content["rows"],
            tuple(content["line"]),
            tuple(content["covariance"]),
            content["trees"],
            tuple(content["categorical"]),
            tuple(content["residuals"]),
            content["spread"],
            content["dependence"],
            tuple(tuple(each) if each else None for each in content["ranges"]),
            content["beyond"],
        )

    def linear(self, prediction: Vector, matrix: Matrix) -> Array:
        """Return the log-odds of a positive label, or the logarithm of the error's size, shape (n_rows,)."""
        found = self.line[0] + self.line[1] * axis_of(self.binary, prediction)
        added = tree_scores(self.trees, features_of(prediction, matrix, self.categorical))
        return found + (added if self.binary else added / 2)  # those of a square

    def draw(self, prediction: Vector, matrix: Matrix, random: np.random.Generator, draws: int) -> Array:
        """Draw labels, shape (draws, n_rows); what is not certain of the line varies from draw to draw."""
        linear, axis = self.linear(prediction, matrix), axis_of(self.binary, prediction)
        first, both, second = self.covariance
        start, slope = random.standard_normal((2, draws, 1))
        tied = both / first if first > 0 else 0.0
        slope = tied * math.sqrt(first) * start + math.sqrt(max(0.0, second - tied * both)) * slope
        scores = linear + math.sqrt(first) * start + slope * axis
        if self.binary:
            return np.asarray(random.random(scores.shape) < logistic(scores), dtype=np.float64)
        drawn = random.choice(np.array(self.residuals), scores.shape)
        return np.asarray(prediction + drawn * np.exp(scores))

    def beyond_range(self, matrix: Matrix) -> float:
        """Return the share of rows of which a feature lies beyond the range that was learnt from."""
        return share_beyond(matrix, self.ranges)


def axis_of(binary: bool, prediction: Vector) -> Array:
    """Return what the line is drawn over."""
    if not binary:
        return np.zeros(len(prediction))
    chance = np.clip(prediction, CLIP, 1 - CLIP)
    return np.asarray(np.log(chance) - np.log1p(-chance))


def logistic(values: Array) -> Array:
    """Return probabilities of log-odds."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -700.0, 700.0))))


def features_of(prediction: Vector, matrix: Matrix, categorical: Sequence[int]) -> Matrix:
    """Put the prediction before the features; the code of an unknown category is a missing value."""
    columns = np.column_stack([prediction, matrix])
    for code in categorical:
        columns[columns[:, code + 1] < 0, code + 1] = np.nan
    return columns


def tree_scores(trees: str, columns: Matrix) -> Array:
    """Return what trees add to the line of rows, shape (n_rows,)."""
    if not trees or not len(columns):
        return np.zeros(len(columns))
    from tasks.modelling.predictors import NativeTrees

    return NativeTrees(trees).scores(columns)


def ranges_of(matrix: Matrix, codes: Sequence[int]) -> tuple[tuple[float, float] | None, ...]:
    """Return least and largest value of each feature; None of a category, and of one without values."""
    found: list[tuple[float, float] | None] = []
    for at in range(matrix.shape[1]):
        values = matrix[np.isfinite(matrix[:, at]), at]
        found.append(None if at in codes or not len(values) else (float(values.min()), float(values.max())))
    return tuple(found)


def share_beyond(matrix: Matrix, ranges: Sequence[tuple[float, float] | None]) -> float:
    """Return the share of rows with a feature beyond its range by more than a tenth of its width."""
    if not len(matrix):
        return 0.0
    outside = np.zeros(len(matrix), dtype=bool)
    for at, span in enumerate(ranges):
        if span is not None:
            margin = 0.1 * (span[1] - span[0])
            with np.errstate(invalid="ignore"):
                outside |= (matrix[:, at] < span[0] - margin) | (matrix[:, at] > span[1] + margin)
    return float(outside.mean())
