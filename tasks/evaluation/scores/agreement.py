"""How far calls and classes agree beyond chance, of two classes or several."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from expectations.metrics import Array, Blocks, OfKnownRows, Prepared, Scored, ratio, sums


class _OfConfusion(OfKnownRows):
    """A function of the confusion matrix."""

    def broken(self, rows: Scored) -> npt.NDArray[np.bool_]:
        """Return which rows have no class, or probabilities that are no numbers."""
        outside: npt.NDArray[np.bool_] = (rows.label < 0) | (rows.label >= rows.chances.shape[1])
        return super().broken(rows) | outside

    @abstractmethod
    def of(self, right: Array, total: Array, true: Array, called: Array) -> Array:
        """Return the metric.

        Parameters
        ----------
        right, total : ndarray of shape (n_resamples,)
            Rows called rightly, and all.
        true, called : ndarray of shape (n_resamples, n_classes)
            Rows of each class, and rows called so.
        """

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Count rows, calls and hits of each class in each block."""
        width = rows.chances.shape[1]

        def counts(places: npt.NDArray[np.int64]) -> Array:
            cells = sums(np.ones(len(blocks)), blocks * width + places, n_blocks * width)
            return cells.reshape(n_blocks, width)

        true, called = counts(rows.label.astype(np.int64)), counts(rows.called)
        right = sums((rows.called == rows.label).astype(np.float64), blocks, n_blocks)
        return lambda weights: self.of(weights @ right, weights @ true.sum(axis=1), weights @ true, weights @ called)


class Matthews(_OfConfusion):
    """Correlation of calls and classes (Matthews 1975; several classes: Gorodkin 2004); zero where all are called one.

    As scikit-learn defines it.
    """

    examples: ClassVar = ({"metric": "matthews"},)
    tasks: ClassVar = ("binary_classification", "multiclass_classification")
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 2.0
    always: ClassVar = False
    metric: Literal["matthews"] = "matthews"

    def of(self, right: Array, total: Array, true: Array, called: Array) -> Array:
        """Return the correlation."""
        above = right * total - (true * called).sum(axis=1)
        spread = (total**2 - (called**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1))
        return np.where(total > 0, np.nan_to_num(ratio(above, np.sqrt(spread))), np.nan)


class CohenKappa(_OfConfusion):
    """Agreement of calls and classes beyond what their shares alone give (Cohen 1960)."""

    examples: ClassVar = ({"metric": "cohen_kappa"},)
    tasks: ClassVar = ("binary_classification", "multiclass_classification")
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 2.0
    always: ClassVar = False
    metric: Literal["cohen_kappa"] = "cohen_kappa"

    def of(self, right: Array, total: Array, true: Array, called: Array) -> Array:
        """Return the agreement."""
        chance = ratio((true * called).sum(axis=1), total**2)
        return ratio(ratio(right, total) - chance, 1 - chance)
