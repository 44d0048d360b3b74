"""Metrics that are functions of how many rows each class has, how many are called so, and how many of those rightly."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from expectations.metrics import Array, Blocks, OfKnownRows, Prepared, Scored, ratio, sums


class OfClasses(OfKnownRows):
    """A metric of two or more classes: a label that is none of them is no label, either."""

    def broken(self, rows: Scored) -> npt.NDArray[np.bool_]:
        """Return which rows have no class, or probabilities that are no numbers."""
        outside: npt.NDArray[np.bool_] = (rows.label < 0) | (rows.label >= rows.chances.shape[1])
        return super().broken(rows) | outside


@dataclass(frozen=True)
class ConfusionCounts:
    """What the confusion matrix comes to in each resample.

    Attributes
    ----------
    hits, true, called : ndarray of shape (n_resamples, n_classes)
        Rows of each class that are called so, all rows of it, and all rows called so.
    """

    hits: Array
    true: Array
    called: Array

    @property
    def total(self) -> Array:
        """All rows, shape (n_resamples,)."""
        return np.asarray(self.true.sum(axis=1))

    @property
    def right(self) -> Array:
        """Rows called rightly, shape (n_resamples,)."""
        return np.asarray(self.hits.sum(axis=1))

    @property
    def f1(self) -> Array:
        """Harmonic mean of precision and recall of each class; NaN of one that is neither there nor called."""
        return ratio(2 * self.hits, self.true + self.called)


class OfCounts(OfClasses):
    """A function of the counts of each class."""

    @abstractmethod
    def of(self, counts: ConfusionCounts) -> Array:
        """Return the metric in each resample, shape (n_resamples,)."""

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Count rows, calls and hits of each class in each block."""
        width, label = rows.chances.shape[1], rows.label.astype(np.int64)

        def counted(places: npt.NDArray[np.int64], kept: Array) -> Array:
            return sums(kept, blocks * width + places, n_blocks * width).reshape(n_blocks, width)

        ones = np.ones(len(blocks))
        hits = counted(label, (rows.called == label).astype(np.float64))
        true, called = counted(label, ones), counted(rows.called.astype(np.int64), ones)
        return lambda weights: self.of(ConfusionCounts(weights @ hits, weights @ true, weights @ called))


def mean_of_classes(values: Array) -> Array:
    """Return the mean over the classes for which there is a value, shape (n_resamples,)."""
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))
