"""How right a classifier of several classes is, each class counting the same.

A class that the model never saw has no probability: it is called nowhere, and ranked by chance.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from expectations.metrics import Array, Blocks, MeanOfRows, Prepared, Scored, ratio
from tasks.evaluation.scores.counts import ConfusionCounts, OfClasses, OfCounts, mean_of_classes
from tasks.evaluation.scores.ranking import RocAuc

_TASKS = ("multiclass_classification",)


class BalancedAccuracy(OfCounts):
    """Mean over the classes of the share of their rows that is called rightly."""

    examples: ClassVar = ({"metric": "balanced_accuracy"},)
    tasks: ClassVar = ("multiclass_classification", "binary_classification")
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    metric: Literal["balanced_accuracy"] = "balanced_accuracy"

    def of(self, counts: ConfusionCounts) -> Array:
        """Return the mean share."""
        return mean_of_classes(ratio(counts.hits, counts.true))


class F1Macro(OfCounts):
    """Mean over the classes of the harmonic mean of precision and recall."""

    examples: ClassVar = ({"metric": "f1_macro"},)
    tasks: ClassVar = _TASKS
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    metric: Literal["f1_macro"] = "f1_macro"

    def of(self, counts: ConfusionCounts) -> Array:
        """Return the mean of the classes' means."""
        return mean_of_classes(counts.f1)


class F1Weighted(OfCounts):
    """Mean of the harmonic means of precision and recall, each class weighing as many rows as it has."""

    examples: ClassVar = ({"metric": "f1_weighted"},)
    tasks: ClassVar = _TASKS
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    always: ClassVar = False
    metric: Literal["f1_weighted"] = "f1_weighted"

    def of(self, counts: ConfusionCounts) -> Array:
        """Return the weighted mean of the classes' means."""
        return ratio((np.nan_to_num(counts.f1) * counts.true).sum(axis=1), counts.total)


class PrecisionMacro(OfCounts):
    """Mean over the classes of the share of rows called so that are; zero of one that is never called."""

    examples: ClassVar = ({"metric": "precision_macro"},)
    tasks: ClassVar = _TASKS
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    always: ClassVar = False
    metric: Literal["precision_macro"] = "precision_macro"

    def of(self, counts: ConfusionCounts) -> Array:
        """Return the mean share."""
        each = ratio(counts.hits, counts.called)
        there = (counts.true > 0) & np.isnan(each)  # of a class that is there and never called
        return mean_of_classes(np.where(there, 0.0, each))


class Top3Accuracy(OfClasses, MeanOfRows):
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


class RocAucOvr(OfClasses):
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
        return lambda weights: mean_of_classes(np.column_stack([one(weights) for one in each]))
