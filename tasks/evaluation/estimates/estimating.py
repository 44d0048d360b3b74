"""What a metric is expected to be on some rows, with its interval, and whether to trust it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from expectations.families import Matrix, Scores, Vector
from tasks.evaluation.estimates.contradictions import DOUBT, MIN_CONTRADICTING, MIN_EXCESS, concept_changed
from tasks.evaluation.estimates.estimate import Estimate, Expected
from tasks.evaluation.estimates.expectation import Expectation
from tasks.evaluation.estimates.levels import Earlier, level_of
from tasks.evaluation.estimates.scales import Drawn, LossScale
from tasks.evaluation.metrics import Scored, score

MAX_BEYOND = 0.25
"""Share of rows beyond the range that was learnt from, in excess of what the holdout had."""


def estimate(
    metric: str,
    expected: Expectation,
    prediction: Scores,
    matrix: Matrix,
    label: Vector,
    *,
    threshold: float = 0.5,
    champion: str = "",
    earlier: Sequence[Earlier] = (),
    behind: int = 1,
    seed: int = 0,
) -> Estimate:
    """Say what a metric is expected to be on some rows.

    Parameters
    ----------
    prediction : ndarray of shape (n_rows,) or (n_rows, n_classes)
    label : ndarray of shape (n_rows,)
        NaN where it is not known.
    earlier : sequence of Earlier
        Windows whose labels have come, oldest first; the newest `MAX_WINDOWS` count.
    behind : int
        Windows from the newest of them that this champion answered to these rows; where it answered none, the number
        of this window among its own.
    """
    usable = np.isfinite(prediction if prediction.ndim == 1 else prediction.sum(axis=1))
    prediction, matrix, label = prediction[usable], matrix[usable], label[usable]
    known = np.isfinite(label)
    rows, labels = len(label), int(known.sum())
    if not rows:
        return Estimate(metric, why="no predictions to estimate it of")
    scale = LossScale(metric, prediction)  # by all rows, whatever labels have come
    everything = Drawn.of(metric, expected, prediction, matrix, threshold, scale, seed)
    if everything is None:
        return Estimate(metric, labels=labels, why=f"{metric} is not defined on labels as they are expected")
    level, spread, freedom = level_of(metric, expected, scale, champion, earlier, behind)
    first = scale.interval(everything.mean + level, math.sqrt(spread**2 + everything.variance), freedom)
    before = Expected(*first)
    reasons = []
    beyond = expected.beyond_range(matrix)
    if beyond > expected.beyond + MAX_BEYOND:
        reasons.append(f"{beyond:.0%} of the rows lie beyond the range that was learnt from")
    centre, deviation = everything.mean + level, math.sqrt(spread**2 + everything.variance)
    few = LossScale(metric, label[known] if labels > 1 else prediction)
    seen = Drawn.of(metric, expected, prediction[known], matrix[known], threshold, few, seed) if labels else None
    truth = few.of(score(metric, Scored(label[known], prediction[known], threshold))) if labels else math.nan
    if seen is not None and math.isfinite(truth):
        off, unknown = truth - seen.mean - level, 1 - labels / rows
        first, last = np.flatnonzero(known)[[0, -1]]
        apart = 1 - float(last - first + 1) / rows  # labels of a part of the window alone depend on each other
        noise = unknown * seen.variance * (1 + apart * (expected.dependence - 1))
        weight = spread**2 / (spread**2 + noise)
        centre += weight * off
        deviation = math.sqrt((1 - weight) * spread**2 + unknown * everything.variance)
        certain = off / math.sqrt(seen.variance) if seen.variance else math.inf
        if (
            labels >= MIN_CONTRADICTING
            and off > MIN_EXCESS
            and (certain > DOUBT or concept_changed(expected, prediction[known], matrix[known], label[known], seed))
        ):
            excess = math.expm1(min(off, 100.0))
            reasons.append(
                f"the {labels} labels that came say a loss {excess:.0%} above what is expected of their rows"
            )
    value, low, high = scale.interval(centre, deviation, freedom)
    return Estimate(
        metric, value, low, high, labels, not reasons, "; ".join(reasons), scale.back(everything.mean), before
    )
