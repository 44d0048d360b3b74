"""Temperature scaling: one number, for two classes and for several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from expectations.calibration import Calibration, Calibrator
from expectations.families import Score, Scores, Vector
from expectations.fields import Positive
from tasks.modelling.calibrations.known import log_odds, log_odds_of, logarithm, logarithms, require_all_classes
from tasks.modelling.links import sigmoid, softmax, softmax_rows

_RANGE = (-5.0, 5.0)
"""Natural logarithm of the least and the largest temperature that is looked at."""


class FittedTemperature(Calibrator):
    """Scores before the link, divided by a temperature."""

    calibration: Literal["temperature"] = "temperature"
    temperature: Positive

    def one(self, score: Score) -> Score:
        """Return the probabilities of the divided scores."""
        if isinstance(score, list):
            return softmax([logarithm(each) / self.temperature for each in score])
        return sigmoid([log_odds(score) / self.temperature])[0] if score == score else score

    def many(self, scores: Scores) -> Scores:
        """Return the probabilities of rows, in the scores' shape."""
        if scores.ndim > 1:
            return softmax_rows(logarithms(scores) / self.temperature)
        return np.array(sigmoid((log_odds_of(scores) / self.temperature).tolist()), dtype=np.float64)

    @property
    def of_raw_scores(self) -> tuple[float, float]:
        """One over the temperature, and nothing added."""
        return 1.0 / self.temperature, 0.0


class Temperature(Calibration):
    """Temperature scaling (Guo et al. 2017, arXiv:1706.04599): scores before the link over one number; ranks stay."""

    examples: ClassVar = ({"calibration": "temperature"},)
    tasks: ClassVar = ("binary_classification", "multiclass_classification")
    learns: ClassVar = FittedTemperature
    moves_level: ClassVar = False
    calibration: Literal["temperature"] = "temperature"

    def fit(self, scores: Scores, label: Vector, classes: Sequence[str]) -> FittedTemperature:
        """Learn the temperature by maximum likelihood."""
        from scipy.optimize import minimize_scalar

        require_all_classes(scores, label, classes)
        clipped = np.clip(scores, 1e-15, 1 - 1e-15)
        raw = np.log(clipped) if scores.ndim > 1 else np.column_stack([np.log1p(-clipped), np.log(clipped)])
        places = label.astype(np.int64)[:, None]

        def loss(log_temperature: float) -> float:
            found = raw / np.exp(log_temperature)
            given = np.take_along_axis(found, places, axis=1)[:, 0]
            return float((np.logaddexp.reduce(found, axis=1) - given).mean())

        found = minimize_scalar(loss, bounds=_RANGE, method="bounded", options={"xatol": 1e-8})
        return FittedTemperature(temperature=float(np.exp(found.x)))
