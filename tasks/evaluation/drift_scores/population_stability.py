"""The population stability index of credit scoring."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from expectations.drift_scores import Binned, DriftScore

_MIN_SHARE = 1e-4
"""What an empty bin counts as, as its logarithm is not defined."""


class PopulationStability(DriftScore):
    """Population stability index (Siddiqi 2006); 0.1 is customarily called small, 0.25 large.

    Over the bins of the reference's sketch, about 30 of them for numbers: somewhat larger than over the customary ten.
    """

    examples: ClassVar = ({"score": "population_stability"},)
    score: Literal["population_stability"]

    def of(self, binned: Binned) -> float:
        """Sum up the differences of the shares, weighted by the logarithms of their ratios."""
        before, now = (np.maximum(each, _MIN_SHARE) for each in binned.shares)
        return float(((now - before) * np.log(now / before)).sum())
