"""Isotonic regression: any curve that never falls."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from expectations.calibration import Calibration, Calibrator
from expectations.families import Score, Scores, Vector
from tasks.modelling.calibrations.known import require_all_classes


class FittedIsotonic(Calibrator):
    """A curve through points, straight between them, level beyond them."""

    calibration: Literal["isotonic"] = "isotonic"
    given: tuple[float, ...]
    """Probabilities of the model, ascending."""
    true: tuple[float, ...]
    """What each of them becomes, never falling."""

    def one(self, score: Score) -> Score:
        """Return the probability on the curve."""
        if not isinstance(score, float) or score != score:
            return score
        at = bisect_right(self.given, score)
        if at in (0, len(self.given)):
            return self.true[min(at, len(self.given) - 1)]
        left, right = self.given[at - 1], self.given[at]
        share = (score - left) / (right - left)
        return self.true[at - 1] + share * (self.true[at] - self.true[at - 1])

    def many(self, scores: Scores) -> Scores:
        """Return the probabilities of rows on the curve, shape (n_rows,)."""
        given, true = np.array(self.given), np.array(self.true)
        at = np.searchsorted(given, scores, side="right")
        right = np.clip(at, 1, len(given) - 1)
        left = np.maximum(right - 1, 0)
        with np.errstate(all="ignore"):  # beyond its ends nothing of this counts
            between = true[left] + (scores - given[left]) / (given[right] - given[left]) * (true[right] - true[left])
        found = np.where(at == 0, true[0], np.where(at == len(given), true[-1], between))
        return np.where(np.isnan(scores), scores, found)


class Isotonic(Calibration):
    """Isotonic regression (Zadrozny and Elkan 2002): any curve that never falls; wants a thousand rows or more.

    Ranks may become ties. With n rows it stays within 1 / (n + 2) and 1 - 1 / (n + 2), so that no event is impossible.
    """

    examples: ClassVar = ({"calibration": "isotonic"},)
    tasks: ClassVar = ("binary_classification",)
    learns: ClassVar = FittedIsotonic
    calibration: Literal["isotonic"] = "isotonic"

    def fit(self, scores: Scores, label: Vector, classes: Sequence[str]) -> FittedIsotonic:
        """Learn the curve by pooling adjacent violators, as scikit-learn does."""
        from sklearn.isotonic import IsotonicRegression

        require_all_classes(scores, label, classes)
        least = 1.0 / (len(label) + 2)
        found = IsotonicRegression(y_min=least, y_max=1.0 - least, out_of_bounds="clip").fit(scores, label)
        return FittedIsotonic(given=tuple(found.X_thresholds_.tolist()), true=tuple(found.y_thresholds_.tolist()))
