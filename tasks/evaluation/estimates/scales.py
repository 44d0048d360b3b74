"""A metric as the logarithm of its loss, and what labels that are drawn make of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from expectations.families import Matrix, Scores
from expectations.slots import METRICS
from tasks.evaluation.estimates.expectation import Expectation
from tasks.evaluation.floors import least_loss
from tasks.evaluation.metrics import Scored, losses, score

DRAWS = 200
CONFIDENCE = 0.95
"""Of the interval, by a t distribution; the promise is 0.9."""


class LossScale:
    """The logarithm of a metric's loss on some rows, and back.

    Parameters
    ----------
    values : ndarray of shape (n_rows,) or (n_rows, n_classes)
        Their labels, or predictions where these are not known: how small a loss they can show.
    """

    def __init__(self, metric: str, values: Scores) -> None:
        self.metric = metric
        start, end = losses(metric, np.array([0.0, 1.0]))
        self.start, self.slope = float(start), float(end - start)  # losses are straight in the metric
        self.least = least_loss(metric, values)
        self.largest = METRICS.released(metric).largest_loss

    def of(self, value: float) -> float:
        """Return the logarithm of the loss."""
        if not math.isfinite(value):
            return math.nan
        return math.log(max(float(losses(self.metric, np.array([value]))[0]), self.least))

    def back(self, log_loss: float) -> float:
        """Return the metric."""
        return (min(math.exp(min(log_loss, 690.0)), self.largest) - self.start) / self.slope

    def interval(self, centre: float, deviation: float, freedom: float) -> tuple[float, float, float]:
        """Return the metric at a logarithm, and at the ends of its interval."""
        from scipy.special import stdtrit

        wide = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * deviation
        ends = sorted((self.back(centre - wide), self.back(centre + wide)))
        return self.back(centre), ends[0], ends[1]


@dataclass(frozen=True)
class Drawn:
    """Mean and variance of the logarithm of the loss over draws of the labels."""

    mean: float
    variance: float

    @classmethod
    def of(
        cls,
        metric: str,
        expected: Expectation,
        prediction: Scores,
        matrix: Matrix,
        threshold: float,
        scale: LossScale,
        seed: int,
    ) -> Drawn | None:
        """Draw labels and score them; None where the metric is not defined in half of the draws or more."""
        step = max(1, math.ceil(len(prediction) / expected.labels.max_drawn))
        some, rows = prediction[::step], matrix[::step]
        drawn = expected.draw(some, rows, np.random.default_rng(seed), DRAWS)
        values = np.array([scale.of(score(metric, Scored(each, some, threshold))) for each in drawn])
        values = values[np.isfinite(values)]
        if len(values) <= DRAWS // 2:
            return None
        centre = math.log(max(float(np.exp(values).mean()), scale.least))
        return cls(centre, float(values.var()))
