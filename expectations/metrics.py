"""What a metric is: a function of sums over blocks of rows, so that a resampled metric costs no pass over the rows.

Weighting the blocks gives the metric of a resample.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from expectations.families import Scores, Task, Vector
from expectations.parts import Part
from expectations.slots import METRICS

Array = npt.NDArray[np.float64]
Blocks = npt.NDArray[np.int64]

#: Block weights of shape (n_resamples, n_blocks) -> metric of shape (n_resamples,); NaN where it is not defined.
Prepared = Callable[[Array], Array]


@dataclass(frozen=True)
class Scored:
    """Rows with their truth and their prediction.

    Attributes
    ----------
    label : ndarray of shape (n_rows,)
        0 and 1, the place of a class among several, or the value. The place after the last class is that of classes
        the model never saw.
    prediction : ndarray of shape (n_rows,) or (n_rows, n_classes)
    threshold : float
        Probability from which a row counts as positive, where there are two classes.
    """

    label: Vector
    prediction: Scores
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.label.shape != self.prediction.shape[:1]:
            raise ValueError(f"{self.label.shape} labels against {self.prediction.shape} predictions")

    @property
    def chances(self) -> Scores:
        """Probabilities of shape (n_rows, n_classes): zero of classes that the model never saw, in a last column."""
        if self.prediction.ndim == 1:
            return np.column_stack([1 - self.prediction, self.prediction])
        unseen = bool((self.label >= self.prediction.shape[1]).any())
        return np.column_stack([self.prediction, np.zeros(len(self.label))]) if unseen else self.prediction

    @property
    def called(self) -> npt.NDArray[np.int64]:
        """The class that is called, of shape (n_rows,): by the threshold, or the most probable of several."""
        if self.prediction.ndim == 1:
            return (self.prediction >= self.threshold).astype(np.int64)
        return np.asarray(np.argmax(self.prediction, axis=1), dtype=np.int64)


class Metric(Part):
    """A measure of predictions against the truth.

    Attributes
    ----------
    tasks : tuple of str
        Those it is a metric of.
    greater_is_better : bool
    largest_loss : float
        What can be lost at most, see `losses`; infinite where there is no bound.
    always : bool
        Whether it is measured of every window; else where a use case names it, and in the evaluation of a version.
    relative : bool
        Whether the errors of a regression count in shares of the label, and not in its unit.
    """

    always: ClassVar[bool] = True
    relative: ClassVar[bool] = False
    metric: str
    tasks: ClassVar[tuple[Task, ...]]
    greater_is_better: ClassVar[bool]
    largest_loss: ClassVar[float] = math.inf

    def losses(self, values: Array) -> Array:
        """Return what is lost at values of the metric: positive, and zero at the best there is.

        Of two losses it is the ratio. One less a metric that is better the greater it is, else the metric itself.
        """
        return 1.0 - values if self.greater_is_better else values

    @abstractmethod
    def prepare(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Sum up scored rows.

        Parameters
        ----------
        blocks : ndarray of shape (n_rows,)
            The block each row lies in, 0 to `n_blocks` - 1.
        """


class OfKnownRows(Metric):
    """A metric that is not defined over blocks with a row that is broken."""

    def broken(self, rows: Scored) -> npt.NDArray[np.bool_]:
        """Return which rows have a label or prediction that is no finite number, shape (n_rows,)."""
        scores = rows.prediction if rows.prediction.ndim > 1 else rows.prediction[:, None]
        return ~(np.isfinite(rows.label) & np.isfinite(scores).all(axis=1))

    @abstractmethod
    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Sum up scored rows as `prepare` does; of broken ones label and prediction are zero."""

    def prepare(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Sum up the rows, and count those that are broken."""
        broken = self.broken(rows)
        if not broken.any():
            return self.prepare_known(rows, blocks, n_blocks)
        columns = broken if rows.prediction.ndim == 1 else broken[:, None]
        zeros = Scored(np.where(broken, 0.0, rows.label), np.where(columns, 0.0, rows.prediction), rows.threshold)
        whole, lost = self.prepare_known(zeros, blocks, n_blocks), sums(broken.astype(np.float64), blocks, n_blocks)
        return lambda weights: np.where(weights @ lost > 0, np.nan, whole(weights))


class MeanOfRows(OfKnownRows):
    """The mean of a loss of each row."""

    @abstractmethod
    def loss(self, rows: Scored) -> Array:
        """Return the loss of each row, shape (n_rows,)."""

    def finish(self, means: Array) -> Array:
        """Return the metric of means of the loss."""
        return means

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Sum up losses and rows."""
        total = sums(self.loss(rows), blocks, n_blocks)
        count = sums(np.ones(len(blocks)), blocks, n_blocks)
        return lambda weights: self.finish(ratio(weights @ total, weights @ count))


def ratio(numerator: Array, denominator: Array) -> Array:
    """Divide, and return NaN where the denominator is zero."""
    out: Array = np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator != 0)
    return out


def sums(values: Array, blocks: Blocks, n_blocks: int) -> Array:
    """Sum values up in each block, shape (n_blocks,)."""
    return np.bincount(blocks, weights=values, minlength=n_blocks).astype(np.float64)


@cache
def metrics_of(task: str) -> Mapping[str, bool]:
    """Return the metrics that are built in for a task, and whether more is better."""
    parts = {name: METRICS.find(name) for name in METRICS.built_in}
    found = {name: part.greater_is_better for name, part in parts.items() if part and task in part.tasks}
    return MappingProxyType(found)
