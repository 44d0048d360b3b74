"""How well a classifier ranks: whatever the threshold."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from expectations.metrics import Array, Blocks, OfKnownRows, Prepared, Scored, ratio, sums


def _ends_of_ties(ranked: Array) -> npt.NDArray[np.intp]:
    """Return the place of the last of each run of equal scores; none without rows."""
    return np.flatnonzero(np.append(np.diff(ranked) != 0, len(ranked) > 0))


class RocAuc(OfKnownRows):
    """Probability that a positive row is ranked above a negative one (Mann-Whitney), ties counting one half."""

    examples: ClassVar = ({"metric": "roc_auc"},)
    tasks: ClassVar = ("binary_classification",)
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    metric: Literal["roc_auc"] = "roc_auc"

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Count the pairs that are ranked rightly, for each pair of blocks."""
        positive = rows.label == 1
        wins = np.zeros((n_blocks, n_blocks))
        ranked, owners = rows.prediction[positive], blocks[positive]
        for block in range(n_blocks):
            negatives = np.sort(rows.prediction[~positive & (blocks == block)])
            below = np.searchsorted(negatives, ranked, "left") + np.searchsorted(negatives, ranked, "right")
            wins[:, block] = sums(below / 2.0, owners, n_blocks)
        positives = sums(positive.astype(np.float64), blocks, n_blocks)
        negatives_count = sums((~positive).astype(np.float64), blocks, n_blocks)
        return lambda weights: ratio(
            np.einsum("rb,bc,rc->r", weights, wins, weights, optimize=True),
            (weights @ positives) * (weights @ negatives_count),
        )


class AveragePrecision(OfKnownRows):
    """Mean precision over the recalled positives (the step-wise area, as scikit-learn defines it)."""

    examples: ClassVar = ({"metric": "average_precision"},)
    tasks: ClassVar = ("binary_classification",)
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    metric: Literal["average_precision"] = "average_precision"

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Rank the rows once."""
        del n_blocks
        order = np.argsort(-rows.prediction, kind="stable")
        label, block = rows.label[order], blocks[order]
        last = _ends_of_ties(rows.prediction[order])

        def resampled(weights: Array) -> Array:
            out = np.full(len(weights), np.nan)
            for index, weight in enumerate(weights):
                row_weight = weight[block]
                hits = np.cumsum(row_weight * label)[last]
                precision = ratio(hits, np.cumsum(row_weight)[last])
                if len(last) and hits[-1]:
                    out[index] = np.nansum(np.diff(hits, prepend=0.0) * precision) / hits[-1]
            return out

        return resampled


class KolmogorovSmirnov(OfKnownRows):
    """Largest distance between the shares of positive and of negative rows ranked above a score, over all scores."""

    examples: ClassVar = ({"metric": "kolmogorov_smirnov"},)
    tasks: ClassVar = ("binary_classification",)
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 1.0
    always: ClassVar = False
    metric: Literal["kolmogorov_smirnov"] = "kolmogorov_smirnov"

    def prepare_known(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Rank the rows once."""
        del n_blocks
        order = np.argsort(-rows.prediction, kind="stable")
        positive, block = rows.label[order] == 1, blocks[order]
        last = _ends_of_ties(rows.prediction[order])

        def resampled(weights: Array) -> Array:
            out = np.full(len(weights), np.nan)
            for index, weight in enumerate(weights):
                counts = weight[block]
                hits, alarms = np.cumsum(counts * positive)[last], np.cumsum(counts * ~positive)[last]
                if len(last) and hits[-1] and alarms[-1]:
                    out[index] = np.abs(hits / hits[-1] - alarms / alarms[-1]).max()
            return out

        return resampled
