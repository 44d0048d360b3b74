"""How far predicted values lie from the true ones."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from expectations.metrics import Array, Blocks, MeanOfRows, Metric, Prepared, Scored, ratio, sums


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
