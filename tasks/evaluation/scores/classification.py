"""How right a classifier is: its probabilities, and what is called positive at the threshold."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np

from expectations.metrics import Array, Blocks, MeanOfRows, OfKnownRows, Prepared, Scored, ratio, sums

_CLIP = 1e-15


class LogLoss(MeanOfRows):
    """Mean negative logarithm of the probability that was given to what was."""

    examples: ClassVar = ({"metric": "log_loss"},)
    tasks: ClassVar = ("binary_classification", "multiclass_classification")
    greater_is_better: ClassVar = False
    metric: Literal["log_loss"] = "log_loss"

    def loss(self, rows: Scored) -> Array:
        """Return the negative logarithm of the probability of what was."""
        if rows.prediction.ndim > 1:  # a class that was never seen has no chance
            known = np.isfinite(rows.label)
            places = np.where(known, rows.label, 0.0)[:, None].astype(np.int64)
            given = np.take_along_axis(rows.chances, places, axis=1)[:, 0]
            return np.where(known, -np.log(np.clip(given, _CLIP, 1.0)), np.nan)
        chance = np.clip(rows.prediction, _CLIP, 1 - _CLIP)
        return np.asarray(-(rows.label * np.log(chance) + (1 - rows.label) * np.log1p(-chance)))


class Brier(MeanOfRows):
    """Mean squared distance of the probability to 0 or 1, summed up over several classes (Brier 1950)."""

    examples: ClassVar = ({"metric": "brier"},)
    tasks: ClassVar = ("binary_classification", "multiclass_classification")
    greater_is_better: ClassVar = False
    metric: Literal["brier"] = "brier"

    def loss(self, rows: Scored) -> Array:
        """Return the squared distance to 0 or 1."""
        if rows.prediction.ndim > 1:
            targets = rows.label[:, None] == np.arange(rows.chances.shape[1])
            found = ((rows.chances - targets) ** 2).sum(axis=1)
            return np.where(np.isfinite(rows.label), found, np.nan)
        return np.asarray((rows.prediction - rows.label) ** 2)


class Accuracy(MeanOfRows):
    """Share of rows that are called rightly: at the threshold, or the most probable of several classes."""

    examples: ClassVar = ({"metric": "accuracy"},)
    tasks: ClassVar = ("binary_classification", "multiclass_classification")
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    metric: Literal["accuracy"] = "accuracy"

    def loss(self, rows: Scored) -> Array:
        """Return 1 for a row that is called rightly; NaN where its label or prediction is no number."""
        return np.where(self.broken(rows), np.nan, rows.called == rows.label)


class Cost(MeanOfRows):
    """Mean cost of wrong calls a row, in what a false positive and a false negative cost together.

    At a threshold t that costs of errors give, a false positive costs t of it and a false negative 1 - t (Elkan 2001).
    """

    examples: ClassVar = ({"metric": "cost"},)
    tasks: ClassVar = ("binary_classification",)
    greater_is_better: ClassVar = False
    always: ClassVar = False
    largest_loss: ClassVar = 1.0
    metric: Literal["cost"] = "cost"

    def loss(self, rows: Scored) -> Array:
        """Return the cost of each row; NaN where its label or prediction is no number."""
        wrong = np.where(
            rows.label == 1, (1 - rows.threshold) * (rows.called == 0), rows.threshold * (rows.called == 1)
        )
        return np.where(self.broken(rows), np.nan, wrong)


class _Counted(OfKnownRows):
    """A share of rows called positive, or truly so."""

    @abstractmethod
    def share(self, hits: Array, false_alarms: Array, misses: Array) -> tuple[Array, Array]:
        """Return what is counted, and of how many."""

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Count hits, false alarms and misses in each block."""
        called, true = rows.prediction >= rows.threshold, rows.label == 1
        hits, false_alarms, misses = (
            sums(part.astype(np.float64), blocks, n_blocks) for part in (called & true, called & ~true, ~called & true)
        )
        return lambda weights: ratio(*self.share(weights @ hits, weights @ false_alarms, weights @ misses))


class Precision(_Counted):
    """Share of the rows called positive that are."""

    examples: ClassVar = ({"metric": "precision"},)
    tasks: ClassVar = ("binary_classification",)
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    metric: Literal["precision"] = "precision"

    def share(self, hits: Array, false_alarms: Array, misses: Array) -> tuple[Array, Array]:
        """Return hits, of all that are called."""
        del misses
        return hits, hits + false_alarms


class Recall(_Counted):
    """Share of the positive rows that are called."""

    examples: ClassVar = ({"metric": "recall"},)
    tasks: ClassVar = ("binary_classification",)
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    metric: Literal["recall"] = "recall"

    def share(self, hits: Array, false_alarms: Array, misses: Array) -> tuple[Array, Array]:
        """Return hits, of all that are positive."""
        del false_alarms
        return hits, hits + misses


class F1(_Counted):
    """Harmonic mean of precision and recall."""

    examples: ClassVar = ({"metric": "f1"},)
    tasks: ClassVar = ("binary_classification",)
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    metric: Literal["f1"] = "f1"

    def share(self, hits: Array, false_alarms: Array, misses: Array) -> tuple[Array, Array]:
        """Return what is counted, and of how many."""
        return 2 * hits, 2 * hits + false_alarms + misses


class Specificity(OfKnownRows):
    """Share of the negative rows that are not called positive."""

    examples: ClassVar = ({"metric": "specificity"},)
    tasks: ClassVar = ("binary_classification",)
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    always: ClassVar = False
    metric: Literal["specificity"] = "specificity"

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Count negative rows, and those of them that are not called."""
        negative = rows.label != 1
        right = negative & (rows.prediction < rows.threshold)
        hits, all_of_them = (sums(part.astype(np.float64), blocks, n_blocks) for part in (right, negative))
        return lambda weights: ratio(weights @ hits, weights @ all_of_them)
