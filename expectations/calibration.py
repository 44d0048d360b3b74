"""What a calibration is: the last step of a bundle, which turns its scores into what is met."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from expectations.families import Score, Scores, Task, Vector
from expectations.fields import Strict
from expectations.parts import Part


class Calibrator(Strict):
    """What a calibration learnt; its fields are its JSON. One row and many agree to the last bit."""

    calibration: str

    @abstractmethod
    def one(self, score: Score) -> Score:
        """Calibrate the score of a row: the probability of the positive class, or of each class; NaN stays NaN."""

    def many(self, scores: Scores) -> Scores:
        """Calibrate scores of shape (n_rows,) or (n_rows, n_classes).

        As `one` does, to the last bit; a calibrator that can do so by columns overrides it.
        """
        found = np.array([self.one(score) for score in scores.tolist()], dtype=np.float64)
        return found.reshape(scores.shape)

    @property
    def of_raw_scores(self) -> tuple[float, float | Sequence[float]] | None:
        """Slope, and intercept or one for each class, where scores before the link are only stretched and moved."""
        return None


class Calibration(Part):
    """A way to calibrate what a model says, learnt from rows that it did not learn from.

    Attributes
    ----------
    tasks : tuple of str
        Those whose scores it calibrates.
    learns : type
        What `fit` returns, and a bundle's JSON is read as.
    moves_level : bool
        Whether scores that are too high as a whole become lower.
    """

    calibration: str
    tasks: ClassVar[tuple[Task, ...]]
    learns: ClassVar[type[Calibrator]]
    moves_level: ClassVar[bool] = True

    @abstractmethod
    def fit(self, scores: Scores, label: Vector, classes: Sequence[str]) -> Calibrator:
        """Learn from scores of rows and the codes of their labels.

        Raises
        ------
        TrainingError
            If these rows lack a class, or a score is no number.
        """
