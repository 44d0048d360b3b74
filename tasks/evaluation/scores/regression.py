"""How far predicted values lie from the true ones."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from expectations.metrics import Array, Blocks, MeanOfRows, Metric, OfKnownRows, Prepared, Scored, ratio, sums


class Rmse(MeanOfRows):
    """Root of the mean squared error, in the label's unit."""

    examples: ClassVar = ({"metric": "rmse"},)
    tasks: ClassVar = ("regression",)
    greater_is_better: ClassVar = False
    metric: Literal["rmse"] = "rmse"

    def loss(self, rows: Scored) -> Array:
        """Return the squared error."""
        return np.asarray((rows.prediction - rows.label) ** 2)

    def finish(self, means: Array) -> Array:
        """Return to the label's unit."""
        return np.sqrt(means)


class Mae(MeanOfRows):
    """Mean absolute error, in the label's unit."""

    examples: ClassVar = ({"metric": "mae"},)
    tasks: ClassVar = ("regression",)
    greater_is_better: ClassVar = False
    metric: Literal["mae"] = "mae"

    def loss(self, rows: Scored) -> Array:
        """Return the absolute error."""
        return np.abs(rows.prediction - rows.label)


class R2(Metric):
    """Share of the label's variance that is explained."""

    examples: ClassVar = ({"metric": "r2"},)
    tasks: ClassVar = ("regression",)
    greater_is_better: ClassVar = True
    metric: Literal["r2"] = "r2"

    def prepare(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Sum up labels, their squares and squared errors."""
        count = sums(np.ones(len(blocks)), blocks, n_blocks)
        centre = rows.label.mean() if len(rows.label) else 0.0  # shifting the label changes nothing but the rounding
        label = rows.label - centre
        first, second = sums(label, blocks, n_blocks), sums(label**2, blocks, n_blocks)
        error = sums((rows.label - rows.prediction) ** 2, blocks, n_blocks)

        def resampled(weights: Array) -> Array:
            total = weights @ second - ratio((weights @ first) ** 2, weights @ count)
            return 1.0 - ratio(weights @ error, total)

        return resampled


class Mape(MeanOfRows):
    """Mean absolute error as a share of the label; a label of zero counts as the smallest float, as in scikit-learn."""

    examples: ClassVar = ({"metric": "mape"},)
    tasks: ClassVar = ("regression",)
    greater_is_better: ClassVar = False
    always: ClassVar = False
    relative: ClassVar = True
    metric: Literal["mape"] = "mape"

    def loss(self, rows: Scored) -> Array:
        """Return the absolute error over the label."""
        return np.abs(rows.prediction - rows.label) / np.maximum(np.abs(rows.label), np.finfo(np.float64).eps)


class Wape(OfKnownRows):
    """Sum of absolute errors over the sum of absolute labels: defined where single labels are zero."""

    examples: ClassVar = ({"metric": "wape"},)
    tasks: ClassVar = ("regression",)
    greater_is_better: ClassVar = False
    always: ClassVar = False
    relative: ClassVar = True
    metric: Literal["wape"] = "wape"

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Sum up errors and labels."""
        error = sums(np.abs(rows.prediction - rows.label), blocks, n_blocks)
        total = sums(np.abs(rows.label), blocks, n_blocks)
        return lambda weights: ratio(weights @ error, weights @ total)


class Rmsle(MeanOfRows):
    """Root of the mean squared difference of logarithms of one and the value; not defined below zero."""

    examples: ClassVar = ({"metric": "rmsle"},)
    tasks: ClassVar = ("regression",)
    greater_is_better: ClassVar = False
    always: ClassVar = False
    relative: ClassVar = True
    metric: Literal["rmsle"] = "rmsle"

    def loss(self, rows: Scored) -> Array:
        """Return the squared difference; NaN where label or prediction is below zero."""
        known = (rows.label >= 0) & (rows.prediction >= 0)
        both = (np.log1p(np.where(known, each, 0.0)) for each in (rows.prediction, rows.label))
        predicted, true = both
        return np.where(known, (predicted - true) ** 2, np.nan)

    def finish(self, means: Array) -> Array:
        """Return to the scale of logarithms."""
        return np.sqrt(means)


class MedianAbsoluteError(OfKnownRows):
    """Median of the absolute errors, in the label's unit: what single large errors do not move."""

    examples: ClassVar = ({"metric": "median_absolute_error"},)
    tasks: ClassVar = ("regression",)
    greater_is_better: ClassVar = False
    always: ClassVar = False
    metric: Literal["median_absolute_error"] = "median_absolute_error"

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Order the errors once."""
        del n_blocks
        error = np.abs(rows.prediction - rows.label)
        order = np.argsort(error, kind="stable")
        error, block = error[order], blocks[order]

        def resampled(weights: Array) -> Array:
            out = np.full(len(weights), np.nan)
            for index, weight in enumerate(weights):
                counts = np.cumsum(weight[block])
                if len(counts) and counts[-1] > 0:  # the mean of the two in the middle, where they are two
                    low, high = (np.searchsorted(counts, counts[-1] / 2, side) for side in ("left", "right"))
                    out[index] = (error[low] + error[min(high, len(error) - 1)]) / 2
            return out

        return resampled
