"""How far probabilities lie from how often they come true."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from expectations.metrics import Array, Blocks, OfKnownRows, Prepared, Scored, ratio, sums

BINS = 10
"""Ranges of probability, all as wide."""


class CalibrationError(OfKnownRows):
    """Mean distance between probability and share that came true, over ten ranges of probability (Naeini et al. 2015).

    Of several classes that of the probability of the one that is called.
    """

    examples: ClassVar = ({"metric": "calibration_error"},)
    tasks: ClassVar = ("binary_classification", "multiclass_classification")
    greater_is_better: ClassVar = False
    largest_loss: ClassVar = 1.0
    always: ClassVar = False
    metric: Literal["calibration_error"] = "calibration_error"

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Sum up, for each range in each block, how far probability lies from truth."""
        chance = rows.prediction if rows.prediction.ndim == 1 else rows.prediction.max(axis=1, initial=0.0)
        true = rows.label if rows.prediction.ndim == 1 else (rows.called == rows.label).astype(np.float64)
        places = np.clip((chance * BINS).astype(np.int64), 0, BINS - 1)
        gap = sums(true - chance, blocks * BINS + places, n_blocks * BINS).reshape(n_blocks, BINS)
        count = sums(np.ones(len(blocks)), blocks, n_blocks)

        def resampled(weights: Array) -> Array:
            return ratio(np.abs(weights @ gap).sum(axis=1), weights @ count)

        return resampled
