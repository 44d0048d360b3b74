"""How far calls and classes agree beyond chance, of two classes or several."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from expectations.metrics import Array, ratio
from tasks.evaluation.scores.counts import ConfusionCounts, OfCounts


class Matthews(OfCounts):
    """Correlation of calls and classes (Matthews 1975; several classes: Gorodkin 2004); zero where all are called one.

    As scikit-learn defines it.
    """

    examples: ClassVar = ({"metric": "matthews"},)
    tasks: ClassVar = ("binary_classification", "multiclass_classification")
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 2.0
    always: ClassVar = False
    metric: Literal["matthews"] = "matthews"

    def of(self, counts: ConfusionCounts) -> Array:
        """Return the correlation."""
        total = counts.total
        above = counts.right * total - (counts.true * counts.called).sum(axis=1)
        spread = (total**2 - (counts.called**2).sum(axis=1)) * (total**2 - (counts.true**2).sum(axis=1))
        return np.where(total > 0, np.nan_to_num(ratio(above, np.sqrt(spread))), np.nan)


class CohenKappa(OfCounts):
    """Agreement of calls and classes beyond what their shares alone give (Cohen 1960)."""

    examples: ClassVar = ({"metric": "cohen_kappa"},)
    tasks: ClassVar = ("binary_classification", "multiclass_classification")
    greater_is_better: ClassVar = True
    largest_loss: ClassVar = 2.0
    always: ClassVar = False
    metric: Literal["cohen_kappa"] = "cohen_kappa"

    def of(self, counts: ConfusionCounts) -> Array:
        """Return the agreement."""
        chance = ratio((counts.true * counts.called).sum(axis=1), counts.total**2)
        return ratio(ratio(counts.right, counts.total) - chance, 1 - chance)
