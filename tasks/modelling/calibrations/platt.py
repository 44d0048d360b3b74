"""Platt scaling: a logistic curve over log-odds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from expectations.calibration import Calibration, Calibrator
from expectations.families import Score, Scores, Vector
from tasks.modelling.calibrations.known import log_odds, log_odds_of, require_all_classes
from tasks.modelling.links import sigmoid


class FittedPlatt(Calibrator):
    """A logistic curve over log-odds."""

    calibration: Literal["platt"] = "platt"
    slope: float
    intercept: float

    def one(self, score: Score) -> Score:
        """Return the probability of the stretched and moved log-odds."""
        if not isinstance(score, float) or score != score:
            return score
        return sigmoid([self.slope * log_odds(score) + self.intercept])[0]

    def many(self, scores: Scores) -> Scores:
        """Return the probabilities of rows, shape (n_rows,)."""
        return np.array(sigmoid((self.slope * log_odds_of(scores) + self.intercept).tolist()), dtype=np.float64)

    @property
    def of_raw_scores(self) -> tuple[float, float]:
        """Slope and intercept."""
        return self.slope, self.intercept


class Platt(Calibration):
    """Platt scaling (Platt 1999): a logistic curve over log-odds, two numbers; a few hundred rows do.

    Targets are drawn towards the middle as in his paper: (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2).
    """

    examples: ClassVar = ({"calibration": "platt"},)
    tasks: ClassVar = ("binary_classification",)
    learns: ClassVar = FittedPlatt
    calibration: Literal["platt"] = "platt"

    def fit(self, scores: Scores, label: Vector, classes: Sequence[str]) -> FittedPlatt:
        """Learn slope and intercept by maximum likelihood."""
        from scipy.optimize import minimize

        require_all_classes(scores, label, classes)
        raw = log_odds_of(scores)
        positive = int((label == 1).sum())
        high, low = (positive + 1) / (positive + 2), 1 / (len(label) - positive + 2)
        target = np.where(label == 1, high, low)

        def loss(values: Vector) -> tuple[float, Vector]:
            found = values[0] * raw + values[1]
            away = 1 / (1 + np.exp(-np.clip(found, -500, 500))) - target
            mean = float((np.logaddexp(0, found) - target * found).mean())
            return mean, np.array([(away * raw).mean(), away.mean()])

        slope, intercept = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS", options={"gtol": 1e-8}).x
        return FittedPlatt(slope=float(slope), intercept=float(intercept))
