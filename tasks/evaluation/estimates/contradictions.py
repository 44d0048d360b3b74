"""Whether the labels that came are others than those that would be drawn."""

from __future__ import annotations

import math

import numpy as np

from expectations.families import Matrix, Scores, Vector
from tasks.evaluation.estimates.expectation import Expectation
from tasks.evaluation.estimates.scales import DRAWS

MIN_CONTRADICTING = 30
"""Labels of a window that can contradict its estimate."""
MIN_EXCESS, DOUBT, CHANGED, LARGER = 0.12, 1.3, 0.005, 1.8
"""An estimate is contradicted by a logarithm of the loss so much larger than expected of the same rows, if it is so
many deviations of drawn labels away, or labels go another way along a feature (level of that test over all features),
or errors are larger (deviations)."""


def concept_changed(expected: Expectation, prediction: Scores, matrix: Matrix, label: Vector, seed: int) -> bool:
    """Whether labels differ from those that would be drawn: in level, along a feature, or in the size of errors.

    Score tests (Rao 1948) of what is left of the labels against the prediction and each feature, their null that of
    drawn labels; a change shows there sooner than in the metric.
    """
    from scipy.special import ndtri

    step = max(1, math.ceil(len(prediction) / expected.labels.max_drawn))
    prediction, matrix, label = prediction[::step], matrix[::step], label[::step]
    linear = expected.linear(prediction, matrix)
    columns = np.column_stack([prediction, matrix])
    finite = np.isfinite(columns)
    centre = np.where(finite, columns, 0.0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
    columns = np.where(finite, columns - centre, 0.0)
    columns = np.column_stack([np.ones(len(label)), columns / (np.abs(columns).max(axis=0, initial=0.0) + 1e-300)])
    drawn = expected.draw(prediction, matrix, np.random.default_rng(seed), DRAWS)
    scores = expected.labels.scores(linear, prediction, columns, np.vstack([label, drawn]))
    spread = scores[1:].std(axis=0)
    far = (scores[0] - scores[1:].mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    along = float(np.abs(far[:-1]).max())
    return along > float(ndtri(1 - CHANGED / (2 * (len(far) - 1)))) or float(far[-1]) > LARGER
