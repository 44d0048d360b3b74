"""The distance that mass has to be moved, in standard deviations."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from expectations.drift_scores import Binned, ColumnKind, DriftScore
from tasks.evaluation.drift_scores.total_variation import total_variation


class Wasserstein(DriftScore):
    """Wasserstein-1 distance of numbers over the reference's standard deviation, under Evidently's name.

    Where the reference is constant, half the sum of the differences of the shares (total variation).
    """

    examples: ClassVar = ({"score": "wasserstein"},)
    kinds: ClassVar[tuple[ColumnKind, ...]] = ("number",)
    score: Literal["wasserstein"]

    def of(self, binned: Binned) -> float:
        """Measure between the means of the bins."""
        if not binned.spread > 0:
            return total_variation(binned)
        before, now = binned.shares
        places = np.concatenate([binned.before_centres, binned.now_centres])
        order = np.argsort(places, kind="stable")
        mass = np.concatenate([before, -now])[order]
        with np.errstate(over="ignore", invalid="ignore"):
            gaps = np.diff(places[order] / binned.spread)
            return float(np.abs(np.cumsum(mass)[:-1] * gaps).sum())
