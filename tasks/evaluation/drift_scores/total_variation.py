"""The share of rows that would have to change."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from expectations.drift_scores import Binned, DriftScore


class TotalVariation(DriftScore):
    """Total variation distance: the share of rows that lie in other bins, or have other categories, 0 to 1."""

    examples: ClassVar = ({"score": "total_variation"}, {"score": "total_variation", "of": ("x", "t")})
    score: Literal["total_variation"]

    def of(self, binned: Binned) -> float:
        """Halve the sum of the differences."""
        return total_variation(binned)


def total_variation(binned: Binned) -> float:
    """Return half the sum of the differences of the shares."""
    before, now = binned.shares
    return float(np.abs(before - now).sum() / 2)
