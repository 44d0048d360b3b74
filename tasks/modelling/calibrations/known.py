"""What calibrations need of the rows they learn from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from expectations.errors import TrainingError
from expectations.families import Scores, Vector
from tasks.modelling.links import elementwise

_CLIP = 1e-15


def log_odds(probability: float) -> float:
    """Return the log-odds of a probability, kept 1e-15 away from 0 and 1; NaN stays NaN."""
    kept = min(max(probability, _CLIP), 1.0 - _CLIP) if probability == probability else probability
    return math.log(kept) - math.log1p(-kept)


def logarithm(probability: float) -> float:
    """Return the logarithm of a probability, kept 1e-15 away from 0; NaN stays NaN."""
    return math.log(max(probability, _CLIP)) if probability == probability else probability


def log_odds_of(probabilities: Vector) -> Vector:
    """Return the log-odds of many probabilities, shape (n_rows,), to the last bit those of `log_odds`."""
    kept = np.clip(probabilities, _CLIP, 1.0 - _CLIP)
    return elementwise(math.log, kept) - elementwise(math.log1p, -kept)


def logarithms(probabilities: Scores) -> Scores:
    """Return the logarithms of many probabilities, of any shape, to the last bit those of `logarithm`."""
    return elementwise(math.log, np.maximum(probabilities, _CLIP))


def require_all_classes(scores: Scores, label: Vector, classes: Sequence[str]) -> None:
    """Refuse rows that no calibration can be learnt from.

    Raises
    ------
    TrainingError
        If a class has no row, or a score is no finite number.
    """
    known = len(np.unique(label))
    if known < max(2, len(classes)):
        raise TrainingError(
            f"rows of all {max(2, len(classes))} classes to calibrate by",
            f"rows of {known} among the {len(label)} that `model.validation` keeps for it",
            "Raise `model.validation`, or leave `model.calibration` out",
        )
    if not np.isfinite(scores).all():
        raise TrainingError(
            "finite scores to calibrate", "some that are not", "Check `model.candidates`: the model did not converge"
        )
