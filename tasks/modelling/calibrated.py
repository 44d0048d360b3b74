"""A released model with its calibration behind it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from expectations.calibration import Calibrator
from expectations.families import Matrix, Predictor, Score, Scores
from tasks.modelling.predictors import BatchPredictor

CALIBRATION = "calibration.json"


class FollowedPredictor(BatchPredictor):
    """Runs a predictor, and turns what it says into other probabilities.

    Where raw scores are only stretched and moved so are the contributions of features to them; else contributions are
    estimated, and add up to the probability that it ends with.
    """

    def __init__(self, predictor: Predictor, calibrator: Calibrator) -> None:
        self.predictor, self.calibrator = predictor, calibrator
        self.holds_interpreter = predictor.holds_interpreter  # beside it a row is calibrated in no time
        self._line = calibrator.of_raw_scores if predictor.explains == "score" else None
        if isinstance(predictor, BatchPredictor):
            self.alone, self.base_row = predictor.alone, predictor.base_row
        if self._line is not None:
            self.explains: Literal["score", "prediction"] = "score"

    @property
    def method(self) -> str:
        """How contributions are found, in words: as those of the predictor, where they are these, stretched."""
        return super().method if self._line is None else self.predictor.method

    def predict(self, matrix: Matrix) -> Scores:
        """Predict rows of shape (n_rows, n_features)."""
        return self.calibrator.many(self.predictor.predict(matrix))

    def predict_row(self, values: list[float]) -> Score:
        """Predict one row."""
        return self.calibrator.one(self.predictor.predict_row(values))

    def contributions(self, matrix: Matrix) -> Matrix:
        """Return what each feature adds; see `Predictor.contributions`."""
        if self._line is None:
            return super().contributions(matrix)
        slope, intercept = self._line
        found = slope * self.predictor.contributions(matrix)
        found[..., -1] += np.asarray(intercept)
        return found


class CalibratedPredictor(FollowedPredictor):
    """Runs a predictor, and calibrates what it says."""
