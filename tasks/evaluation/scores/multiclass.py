"""How right a classifier of several classes is, each class counting the same.

A class that the model never saw has no probability: it is called nowhere, and ranked by chance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np

from expectations.metrics import Array, Blocks, Metric, Prepared, Scored, prepare_known, ratio, sums
from tasks.evaluation.scores.ranking import RocAuc

_TASKS = ("multiclass_classification",)


def _mean(values: Array) -> Array:
    """Return the mean over the classes for which there is a value, shape (n_resamples,)."""
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def _prepared(rows: Scored, blocks: Blocks, n_blocks: int, prepare: Callable[[Scored], Prepared]) -> Prepared:
    """Prepare a metric that is not defined over blocks with a label or probability that is no number."""
    is_class = (rows.label >= 0) & (rows.label < rows.chances.shape[1])
    broken = ~(is_class & np.isfinite(rows.chances).all(axis=1))
    return prepare_known(Scored(rows.label, rows.chances), broken, blocks, n_blocks, prepare)


def _counts(places: Array, kept: Array, blocks: Blocks, n_blocks: int, n_classes: int) -> Array:
    """Count rows of each class in each block, shape (n_blocks, n_classes)."""
    cells = blocks * n_classes + places.astype(np.int64)
    return sums(kept.astype(np.float64), cells, n_blocks * n_classes).reshape(n_blocks, n_classes)


class BalancedAccuracy(Metric):
    """Mean over the classes of the share of their rows that is called rightly."""

    examples: ClassVar = ({"metric": "balanced_accuracy"},)
    tasks: ClassVar = _TASKS
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    metric: Literal["balanced_accuracy"] = "balanced_accuracy"

    def prepare(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Count rows and hits of each class."""
        return _prepared(rows, blocks, n_blocks, lambda known: self._prepare(known, blocks, n_blocks))

    def _prepare(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        width = rows.chances.shape[1]
        hits = _counts(rows.label, rows.called == rows.label, blocks, n_blocks, width)
        total = _counts(rows.label, np.ones(len(blocks)), blocks, n_blocks, width)
        return lambda weights: _mean(ratio(weights @ hits, weights @ total))


class F1Macro(Metric):
    """Mean over the classes of the harmonic mean of precision and recall."""

    examples: ClassVar = ({"metric": "f1_macro"},)
    tasks: ClassVar = _TASKS
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    metric: Literal["f1_macro"] = "f1_macro"

    def prepare(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Count rows, calls and hits of each class."""
        return _prepared(rows, blocks, n_blocks, lambda known: self._prepare(known, blocks, n_blocks))

    def _prepare(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        width, ones = rows.chances.shape[1], np.ones(len(blocks))
        called = rows.called.astype(np.float64)
        hits = _counts(rows.label, rows.called == rows.label, blocks, n_blocks, width)
        both = _counts(rows.label, ones, blocks, n_blocks, width) + _counts(called, ones, blocks, n_blocks, width)
        return lambda weights: _mean(ratio(2 * (weights @ hits), weights @ both))


class RocAucOvr(Metric):
    """Mean over the classes of the area under the ROC of one against all others."""

    examples: ClassVar = ({"metric": "roc_auc_ovr"},)
    tasks: ClassVar = _TASKS
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    metric: Literal["roc_auc_ovr"] = "roc_auc_ovr"

    def prepare(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Count, for each class, the pairs that are ranked rightly."""
        return _prepared(rows, blocks, n_blocks, lambda known: self._prepare(known, blocks, n_blocks))

    def _prepare(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        area, chances = RocAuc(), rows.chances
        each = [
            area.prepare(Scored((rows.label == at).astype(np.float64), chances[:, at]), blocks, n_blocks)
            for at in np.unique(rows.label).astype(np.int64)
        ]
        return lambda weights: _mean(np.column_stack([one(weights) for one in each]))
