"""What was learnt of labels: how they follow from predictions and features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from expectations.families import Matrix, Scores, Task
from expectations.metrics import Array
from expectations.problems import problem_of
from tasks.evaluation.estimates.class_labels import ClassLabels
from tasks.evaluation.estimates.label_models import BinaryLabels, LabelModel, LinearRate, ValueLabels


@dataclass(frozen=True)
class Expectation:
    """What was learnt about the labels of rows from their predictions and features.

    Attributes
    ----------
    line : tuple of float
        Intercept and slope over the logit of a prediction; of a regression the logarithm of the root mean square error,
        and 0; of several classes an intercept for each, and the slope over the logarithms of their probabilities.
    covariance : tuple of float
        Of the line: the upper triangle, row by row.
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
    classes : int
        How many probabilities a prediction has; 0 where it is one number.
    """

    task: Task
    rows: int
    line: tuple[float, ...]
    covariance: tuple[float, ...]
    trees: str = ""
    categorical: tuple[int, ...] = ()
    residuals: tuple[float, ...] = ()
    spread: Mapping[str, float] = field(default_factory=dict)
    dependence: float = 1.0
    ranges: tuple[tuple[float, float] | None, ...] = ()
    beyond: float = 0.0
    classes: int = 0

    @property
    def labels(self) -> LabelModel:
        """How its labels follow."""
        return label_model(self.task, self.classes)

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
            content.get("classes", 0),  # bundles from before several classes were estimated have none
        )

    def linear(self, prediction: Scores, matrix: Matrix) -> Array:
        """Return linear scores of rows: what their labels follow from, see `LabelModel`."""
        labels = self.labels
        found = labels.start(self.line, prediction)
        if not self.trees or not len(prediction):
            return found
        from tasks.modelling.native_trees import native_trees

        columns = features_of(prediction, matrix, self.categorical)
        return np.asarray(found + labels.tree_scale * native_trees(self.trees).scores(columns))

    def draw(self, prediction: Scores, matrix: Matrix, random: np.random.Generator, draws: int) -> Array:
        """Draw labels, shape (draws, n_rows); what is not certain of the line varies from draw to draw."""
        line = LinearRate(self.line, self.covariance)
        return self.labels.draw_unsure(self.linear(prediction, matrix), prediction, line, self.residuals, random, draws)

    def beyond_range(self, matrix: Matrix) -> float:
        """Return the share of rows of which a feature lies beyond the range that was learnt from."""
        return share_beyond(matrix, self.ranges)


def label_model(task: Task, classes: int) -> LabelModel:
    """Return how labels of a kind of problem follow, of predictions with so many probabilities (0: one number)."""
    if classes:
        return ClassLabels(classes)
    return BinaryLabels() if problem_of(task).classifies else ValueLabels()


def features_of(prediction: Scores, matrix: Matrix, categorical: Sequence[int]) -> Matrix:
    """Put the prediction before the features; the code of an unknown category is a missing value."""
    columns = np.column_stack([prediction, matrix])
    for code in codes_after(prediction, categorical):
        columns[columns[:, code] < 0, code] = np.nan
    return columns


def codes_after(prediction: Scores, categorical: Sequence[int]) -> list[int]:
    """Return the places of categories behind the prediction."""
    width = 1 if prediction.ndim == 1 else prediction.shape[1]
    return [code + width for code in categorical]


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
