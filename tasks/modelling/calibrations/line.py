"""A line through the predictions of a regression: how far all of them are stretched and moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from expectations.calibration import Calibration, Calibrator
from expectations.errors import TrainingError
from expectations.families import Score, Scores, Vector


class FittedLine(Calibrator):
    """Predictions times a factor, and an offset added."""

    calibration: Literal["line"] = "line"
    slope: float
    offset: float

    def one(self, score: Score) -> Score:
        """Return the stretched and moved prediction."""
        return self.slope * score + self.offset if isinstance(score, float) else score

    def many(self, scores: Scores) -> Scores:
        """Return the predictions of rows, shape (n_rows,)."""
        found: Scores = self.slope * scores + self.offset
        return found


class Line(Calibration):
    """A straight line over the predictions of a regression, by least squares: two numbers; a few hundred rows do.

    Where the predictions do not vary, or labels fall as they rise, only the offset is learnt.
    """

    examples: ClassVar = ({"calibration": "line"},)
    tasks: ClassVar = ("regression",)
    learns: ClassVar = FittedLine
    calibration: Literal["line"] = "line"

    def fit(self, scores: Scores, label: Vector, classes: Sequence[str]) -> FittedLine:
        """Learn slope and offset by least squares."""
        del classes
        if not len(scores) or not (np.isfinite(scores).all() and np.isfinite(label).all()):
            raise TrainingError(
                "finite predictions and labels to calibrate by",
                "no row" if not len(scores) else "some that are not",
                "Check `model.candidates` and the label: the model did not converge, or labels are missing",
            )
        away, spread = label - label.mean(), scores - scores.mean()
        squares = float(spread @ spread)
        slope = float(spread @ away) / squares if squares > 0 else 1.0
        slope = slope if np.isfinite(slope) and slope > 0 else 1.0
        return FittedLine(slope=slope, offset=float(label.mean() - slope * scores.mean()))
