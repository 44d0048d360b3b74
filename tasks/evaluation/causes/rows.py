"""Rows of a period, and the loss of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from expectations.families import Task
from expectations.metrics import Array, MeanOfRows, Scored
from expectations.problems import problem_of
from expectations.slots import METRICS
from tasks.evaluation.fault_units import Mask

MIN_ROWS = 50
"""Rows of either period, and of the sound or shared ones, below which nothing is concluded."""


@dataclass(frozen=True)
class RowLoss:
    """A loss of each row, whose mean is split into causes.

    Attributes
    ----------
    name : str
        Its metric.
    classifies : bool
        Whether predictions are probabilities: labels are 0 and 1, or places of classes.
    note : str
        Why it is not the metric that was asked for, where it is not.
    classes : tuple of str
        Names of several, in the order of the predictions.
    """

    name: str
    classifies: bool
    part: MeanOfRows
    note: str = ""
    threshold: float = 0.5
    classes: tuple[str, ...] = ()

    def of(self, label: Array, prediction: Array) -> Array:
        """Return the loss of each row."""
        with np.errstate(over="ignore", invalid="ignore"):
            found = self.part.loss(Scored(label, prediction, self.threshold))
        return self.part.losses(found)


def row_loss(metric: str, task: Task, threshold: float = 0.5, classes: tuple[str, ...] = ()) -> RowLoss:
    """Return the loss whose mean a metric is; the logarithmic or squared one where it is no mean of rows.

    Parameters
    ----------
    threshold : float
        Probability from which a row counts as positive.
    classes : tuple of str
        Names of several, in the order of the predictions.
    """
    found = METRICS.find(metric)
    part, problem = found(metric=metric) if found is not None else None, problem_of(task)
    if isinstance(part, MeanOfRows):
        return RowLoss(metric, problem.classifies, part, threshold=threshold, classes=classes)
    other = problem.stand_in
    instead = METRICS.find(other)
    chosen = instead(metric=other) if instead is not None else None
    if not isinstance(chosen, MeanOfRows):
        raise KeyError(other)
    note = f"{metric} is no mean over rows: its causes are those of {other}"
    return RowLoss(other, problem.classifies, chosen, note, classes=classes)


@dataclass(frozen=True)
class PeriodRows:
    """Rows of a period, with what the champion said of them.

    Attributes
    ----------
    inputs : polars.DataFrame
        Raw: numbers, booleans and texts; other columns are not looked at.
    label : ndarray of shape (n_rows,)
    prediction : ndarray of shape (n_rows,) or (n_rows, n_classes)
    seconds : ndarray of shape (n_rows,)
        Event times.
    """

    inputs: pl.DataFrame
    label: Array
    prediction: Array
    seconds: Array

    def __len__(self) -> int:
        return len(self.label)

    @property
    def unseen(self) -> Mask:
        """Rows whose label is a class that the model never saw, where there are several."""
        if self.prediction.ndim == 1:
            return np.zeros(len(self), dtype=np.bool_)
        return np.asarray(self.label >= self.prediction.shape[1])

    def where(self, rows: Mask) -> PeriodRows:
        """Return some of them."""
        inputs = self.inputs.filter(pl.Series(rows)) if self.inputs.width else self.inputs
        return PeriodRows(inputs, self.label[rows], self.prediction[rows], self.seconds[rows])
