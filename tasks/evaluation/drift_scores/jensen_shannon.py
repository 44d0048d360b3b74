"""How much of a row's origin its bin gives away."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np

from expectations.drift_scores import Array, Binned, DriftScore


class JensenShannon(DriftScore):
    """Jensen-Shannon distance (square root of the divergence, natural logarithm), under Evidently's name."""

    examples: ClassVar = ({"score": "jensen_shannon"},)
    score: Literal["jensen_shannon"]

    def of(self, binned: Binned) -> float:
        """Compare both with their mean."""
        p, q = binned.shares
        middle = (p + q) / 2

        def relative(a: Array) -> float:
            ratio = np.divide(a, middle, out=np.ones_like(middle), where=(a > 0) & (middle > 0))
            return float((a * np.log(ratio)).sum())

        return math.sqrt(max(relative(p) + relative(q), 0) / 2)
