"""How right a classifier of several classes is, each class counting the same.

A class that the model never saw has no probability: it is called nowhere, and ranked by chance.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from expectations.metrics import Array, Blocks, MeanOfRows, OfKnownRows, Prepared, Scored, ratio, sums
from tasks.evaluation.scores.ranking import RocAuc

_TASKS = ("multiclass_classification",)


def _mean(values: Array) -> Array:
    """Return the mean over the classes for which there is a value, shape (n_resamples,)."""
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def _counts(places: Array, kept: Array, blocks: Blocks, n_blocks: int, n_classes: int) -> Array:
    """Count rows of each class in each block, shape (n_blocks, n_classes)."""
    cells = blocks * n_classes + places.astype(np.int64)
    return sums(kept.astype(np.float64), cells, n_blocks * n_classes).reshape(n_blocks, n_classes)


class _OfClasses(OfKnownRows):
    """A metric of several classes: a label that is none of them is no label, either."""

    def broken(self, rows: Scored) -> npt.NDArray[np.bool_]:
        """Return which rows have no class, or probabilities that are no numbers."""
        found: npt.NDArray[np.bool_] = (rows.label < 0) | (rows.label >= rows.chances.shape[1])
        return super().broken(rows) | found


class BalancedAccuracy(_OfClasses):
    """Mean over the classes of the share of their rows that is called rightly."""

    examples: ClassVar = ({"metric": "balanced_accuracy"},)
    tasks: ClassVar = ("multiclass_classification", "binary_classification")
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    metric: Literal["balanced_accuracy"] = "balanced_accuracy"

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Count rows and hits of each class."""
        width = rows.chances.shape[1]
        hits = _counts(rows.label, rows.called == rows.label, blocks, n_blocks, width)
        total = _counts(rows.label, np.ones(len(blocks)), blocks, n_blocks, width)
        return lambda weights: _mean(ratio(weights @ hits, weights @ total))


class F1Macro(_OfClasses):
    """Mean over the classes of the harmonic mean of precision and recall."""

    examples: ClassVar = ({"metric": "f1_macro"},)
    tasks: ClassVar = _TASKS
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    metric: Literal["f1_macro"] = "f1_macro"

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Count rows, calls and hits of each class."""
        width, ones = rows.chances.shape[1], np.ones(len(blocks))
        called = rows.called.astype(np.float64)
        hits = _counts(rows.label, rows.called == rows.label, blocks, n_blocks, width)
        both = _counts(rows.label, ones, blocks, n_blocks, width) + _counts(called, ones, blocks, n_blocks, width)
        return lambda weights: _mean(ratio(2 * (weights @ hits), weights @ both))


class F1Weighted(_OfClasses):
    """Mean of the harmonic means of precision and recall, each class weighing as many rows as it has."""

    examples: ClassVar = ({"metric": "f1_weighted"},)
    tasks: ClassVar = _TASKS
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    always: ClassVar = False
    metric: Literal["f1_weighted"] = "f1_weighted"

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Count rows, calls and hits of each class."""
        width, ones = rows.chances.shape[1], np.ones(len(blocks))
        hits = _counts(rows.label, rows.called == rows.label, blocks, n_blocks, width)
        total = _counts(rows.label, ones, blocks, n_blocks, width)
        both = total + _counts(rows.called.astype(np.float64), ones, blocks, n_blocks, width)

        def resampled(weights: Array) -> Array:
            each = np.nan_to_num(ratio(2 * (weights @ hits), weights @ both))
            rows_of = weights @ total
            return ratio((each * rows_of).sum(axis=1), rows_of.sum(axis=1))

        return resampled


class PrecisionMacro(_OfClasses):
    """Mean over the classes of the share of rows called so that are; zero of one that is never called."""

    examples: ClassVar = ({"metric": "precision_macro"},)
    tasks: ClassVar = _TASKS
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    always: ClassVar = False
    metric: Literal["precision_macro"] = "precision_macro"

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Count rows, calls and hits of each class."""
        width, ones = rows.chances.shape[1], np.ones(len(blocks))
        hits = _counts(rows.label, rows.called == rows.label, blocks, n_blocks, width)
        total = _counts(rows.label, ones, blocks, n_blocks, width)
        called = _counts(rows.called.astype(np.float64), ones, blocks, n_blocks, width)

        def resampled(weights: Array) -> Array:
            each = ratio(weights @ hits, weights @ called)
            there = (weights @ total > 0) & np.isnan(each)  # of a class that is there and never called
            return _mean(np.where(there, 0.0, each))

        return resampled


class Top3Accuracy(_OfClasses, MeanOfRows):
    """Share of rows whose class is among the three most probable ones."""

    examples: ClassVar = ({"metric": "top_3_accuracy"},)
    tasks: ClassVar = _TASKS
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    always: ClassVar = False
    metric: Literal["top_3_accuracy"] = "top_3_accuracy"

    def loss(self, rows: Scored) -> Array:
        """Return 1 for a row whose class is among them; NaN where its label or prediction is no number."""
        broken = self.broken(rows)
        place = np.where(broken, 0, rows.label).astype(np.int64)[:, None]
        own = np.take_along_axis(rows.chances, place, axis=1)
        return np.where(broken, np.nan, (rows.chances > own).sum(axis=1) < 3)


class RocAucOvr(_OfClasses):
    """Mean over the classes of the area under the ROC of one against all others."""

    examples: ClassVar = ({"metric": "roc_auc_ovr"},)
    tasks: ClassVar = _TASKS
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    metric: Literal["roc_auc_ovr"] = "roc_auc_ovr"

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Count, for each class, the pairs that are ranked rightly."""
        area, chances = RocAuc(), rows.chances
        each = [
            area.prepare(Scored((rows.label == at).astype(np.float64), chances[:, at]), blocks, n_blocks)
            for at in np.unique(rows.label).astype(np.int64)
        ]
        if not each:  # without rows there are no classes
            return lambda weights: np.full(len(weights), np.nan)
        return lambda weights: _mean(np.column_stack([one(weights) for one in each]))
