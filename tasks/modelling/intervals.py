"""How far a prediction may be off: intervals of a number and sets of classes that hold the truth so often as declared.

Split conformal prediction (Vovk, Gammerman and Shafer 2005; Lei et al. 2018): of rows that the model had not seen, the
quantile of how far off it was, with the correction for their number, holds a new row's truth with at least that
probability, whatever the model, where new rows are like those. Of a number the quantile is taken apart for ranges of
predicted value (Mondrian), so that an interval is as wide as errors are there. Of classes, a set holds each class whose
probability is at least one less the quantile of one less the true class's probability (Sadinle, Lei and Wasserman
2019), and never less than the most probable one.

Where new rows are no longer like those, intervals learn again (`tasks.modelling.learning_intervals`): then each side of
a number's has a quantile of its own, so that a prediction that has come to lie too low or too high costs no width.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from expectations.families import Score, Scores, Vector

INTERVALS = "intervals.json"
_RANGES, _MIN_IN_RANGE = 10, 100
MIN_ROWS = 50
"""Fewest rows that an interval is learnt from."""


class Intervals(BaseModel):
    """What intervals or sets are made by, as ``intervals.json`` keeps it.

    Attributes
    ----------
    coverage : float
        Share of truths that are to lie inside.
    rows : int
        Rows it was learnt from.
    bounds : tuple of float
        Of a number, bounds between ranges of predicted value.
    reach : tuple of float
        Of a number, how far an interval reaches up, one for each range; and down, where `below` is empty.
    below : tuple of float
        Of a number, how far it reaches down; less than zero where truths lie above the predictions.
    least : float
        Of classes, the probability from which one is in the set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    coverage: float
    rows: int
    bounds: tuple[float, ...] = ()
    reach: tuple[float, ...] = ()
    least: float = 0.0
    below: tuple[float, ...] = ()

    @classmethod
    def learn(
        cls, label: Vector, scores: Scores, coverage: float, *, classifies: bool, apart: bool = False
    ) -> Self | None:
        """Learn from rows that the model had not seen; None where they are too few for the coverage.

        A coverage of 0.95 takes 19 rows at least, one of 0.999 takes 999: of fewer no quantile holds so many. Ranges
        of predicted value are made as many as have so many rows each.

        Parameters
        ----------
        label : ndarray of shape (n_rows,)
        scores : ndarray of shape (n_rows,) or (n_rows, n_classes)
        apart : bool
            Whether each side of a number's interval is learnt apart, half of what lies outside on each.
        """
        flat = scores if scores.ndim > 1 else scores[:, None]
        known = np.isfinite(label) & np.isfinite(flat).all(axis=1)
        label, scores = label[known], scores[known]
        side = (1 + coverage) / 2 if apart and not classifies else coverage
        needed = math.ceil(round(side / (1 - side), 6))
        if len(label) < max(MIN_ROWS, needed):
            return None
        least = max(_MIN_IN_RANGE, needed)
        if classifies:
            off = 1.0 - _given(label, scores)
            return cls(coverage=coverage, rows=len(label), least=max(0.0, 1.0 - _quantile(off, coverage)))
        off = label - scores
        ranges = max(1, min(_RANGES, len(label) // least))
        bounds = np.unique(np.quantile(scores, np.arange(1, ranges) / ranges)) if ranges > 1 else np.empty(0)
        places = np.searchsorted(bounds, scores, side="right")
        if min(np.bincount(places, minlength=len(bounds) + 1)) < least:  # many rows of one prediction
            bounds, places = np.empty(0), np.zeros(len(scores), dtype=np.int64)
        sides = (off, -off) if apart else (np.abs(off),)
        up, *down = ([_quantile(each[places == at], side) for at in range(len(bounds) + 1)] for each in sides)
        below = down[0] if down else []
        if not all(map(math.isfinite, (*up, *below))):
            return None
        cut = tuple(bounds.tolist())
        return cls(coverage=coverage, rows=len(label), bounds=cut, reach=tuple(up), below=tuple(below))

    @property
    def name(self) -> str:
        """What tells it from others: the beginning of the hash of what it holds."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def around(self, value: float) -> tuple[float, float]:
        """Return the interval of a predicted number, which need not lie in it where `below` is not empty."""
        at = bisect_right(self.bounds, value)
        reach = self.reach[at]
        return value - (self.below[at] if self.below else reach), value + reach

    def among(self, score: Score, classes: Sequence[Any]) -> list[Any]:
        """Return the classes that a row's may be; the most probable one is always there.

        Parameters
        ----------
        score : float or list of float
            The probability of the positive class, or of each.
        classes : sequence
            In the order of the scores, of two the negative one first.
        """
        chances = (1.0 - score, score) if isinstance(score, float | int) else score
        least = min(self.least, max(chances))
        return [name for name, chance in zip(classes, chances, strict=True) if chance >= least]

    def holds(self, label: Vector, scores: Scores) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Whether the truth of each row lies inside, shape (n_rows,)."""
        if self.reach:
            at, off = np.searchsorted(np.asarray(self.bounds), scores, side="right"), label - scores
            up, down = np.asarray(self.reach)[at], np.asarray(self.below or self.reach)[at]
            return np.asarray((off <= up) & (-off <= down))
        chances = np.column_stack([1 - scores, scores]) if scores.ndim == 1 else scores
        least = np.minimum(self.least, chances.max(axis=1, initial=0.0))
        return np.asarray(_given(label, scores) >= least)


def _given(label: Vector, scores: Scores) -> Vector:
    """Return the probability that was given to what was; zero of a class never seen."""
    chances = np.column_stack([1 - scores, scores]) if scores.ndim == 1 else scores
    padded = np.column_stack([chances, np.zeros(len(label))])
    places = np.minimum(label.astype(np.int64), chances.shape[1])
    return np.asarray(np.take_along_axis(padded, places[:, None], axis=1)[:, 0])


def _quantile(off: Vector, coverage: float) -> float:
    """Return the smallest bound that holds ⌈(n + 1) coverage⌉ of n rows, which are enough for that."""
    rank = min(math.ceil(round((len(off) + 1) * coverage, 6)), len(off))
    return float(np.sort(off)[rank - 1])
