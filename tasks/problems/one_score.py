"""What problems with one score a row have in common."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import polars as pl

from expectations.families import Scores, Vector
from expectations.problems import PREDICTION, Problem

MIN_SPREAD = 0.001
"""Of a champion's predictions, so that whatever leaves a constant lies far from it."""


class OneScore(Problem):
    """A problem whose models give one score a row."""

    def probabilities(self, scores: Sequence[float]) -> Sequence[object]:
        """Return the values: there are no classes."""
        return scores

    def squares(self, codes: Vector, scores: Scores) -> Vector:
        """Return the squared difference of each row."""
        with np.errstate(over="ignore"):
            return np.asarray((codes - scores) ** 2)

    def columns(self, scores: Scores, classes: Sequence[str]) -> pl.DataFrame:
        """Return the scores."""
        del classes
        return pl.DataFrame({PREDICTION: scores})

    def agreement(self, champion: Scores, candidate: Scores, threshold: float) -> float:
        """Return the share of rows on which both say the same; NaN where a prediction is not finite."""
        spread = float(np.std(champion))
        if not (math.isfinite(spread) and np.isfinite(candidate).all()):
            return math.nan
        return float(np.mean(self.agree(champion, candidate, threshold, spread)))

    @abstractmethod
    def agree(
        self, champion: Scores, candidate: Scores, threshold: float, spread: float
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Whether both say the same of each row; `spread` is the deviation of the champion's predictions."""

    def distance(self, champion: Scores, candidate: Scores) -> float:
        """Return the Wasserstein distance in deviations of the champion's predictions; NaN where one is no number."""
        return wasserstein(champion, candidate)


def wasserstein(champion: Vector, candidate: Vector) -> float:
    """Return the Wasserstein distance in deviations of the first; NaN where one is no number."""
    from scipy.stats import wasserstein_distance

    if not (np.isfinite(champion).all() and np.isfinite(candidate).all()):
        return math.nan
    return float(wasserstein_distance(champion, candidate)) / max(float(np.std(champion)), MIN_SPREAD)
