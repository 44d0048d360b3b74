"""Whether values change at an instant, as another unit does, or as they are wont to, as seasons do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from expectations.metrics import Array
from tasks.evaluation.fault_units import Mask

Rows = npt.NDArray[np.intp]
_DAY = 86400.0
_PIECES = 12
"""Stretches a window is cut into, for how long one is at most."""
_CUTS, _MIN_CUTS = 60, 4
_MIN_ROWS = 10
_GRID = np.linspace(0.05, 0.95, 19)
_CLOSER = 0.5
"""How much closer to what was right before it a stretch has to lie once the unit is undone."""


class Samples(NamedTuple):
    """Values, with their event times in seconds, in order of time."""

    times: Array
    values: Array

    def reversed(self) -> Samples:
        """Return them as if time ran backwards."""
        return Samples(-self.times[::-1], self.values[::-1])


@dataclass(frozen=True)
class ColumnCourse:
    """Values of a column as time goes by: earlier ones, and those of a window.

    Attributes
    ----------
    before, seconds : ndarray
        Event times in seconds, in order.
    known, new : ndarray
        The values then; NaN where there is none.
    """

    before: Array
    known: Array
    seconds: Array
    new: Array

    def breaking(self, faulty: Mask, factor: float, offset: float) -> Mask:
        """Return the rows of those stretches at whose ends values leave their course all at once, and come back to it.

        A season moves values little from one day to the next, however far it gets. So what follows the instant has to
        lie farther from what was right before it than any stretch as long does among the earlier rows, and less than
        half as far once the unit is undone; where a stretch ends within the window, the other way round. Distances are
        Wasserstein's, of the quantiles from 5 to 95 %, of logarithms where all values are above zero.

        Parameters
        ----------
        faulty : ndarray of bool of shape (n_rows,)
            Rows of the window that would have come in another unit; none of them is missing.
        """
        found = np.zeros_like(faulty)
        known = np.flatnonzero(~np.isnan(self.new))
        turns = np.flatnonzero(np.diff(faulty[known].astype(np.int8), prepend=0, append=0))
        for first, end in zip(turns[::2], turns[1::2], strict=True):
            found[known[first:end]] = self._breaks(known, first, end, faulty[known], (factor, offset))
        return found

    def _breaks(self, known: Rows, first: int, end: int, faulty: Mask, unit: tuple[float, float]) -> bool:
        """Whether one stretch of the rows that are known breaks away from those before it, and from those after."""
        times, values = self.seconds[known], self.new[known]
        piece = max(1, len(self.new) // _PIECES)
        there = ~np.isnan(self.known)  # a gap would else be what came right before
        earlier = self.before[there]
        apart = float(np.median(np.diff(earlier))) if len(earlier) > 1 else 0.0
        span = max(float(self.seconds[-1] - self.seconds[0]) / _PIECES, (_MIN_ROWS + 2) * apart, 1.0)
        longest = float(np.ceil(span / _DAY)) * _DAY  # whole days, so that hours of the day weigh alike
        early, late = (~faulty & inside for inside in (np.arange(len(known)) < first, np.arange(len(known)) >= end))
        past = Samples(np.concatenate([earlier, times[early]]), np.concatenate([self.known[there], values[early]]))
        bad, after = Samples(times[first:end], values[first:end]), Samples(times[late], values[late])
        if not self._steps(past, bad, piece, longest, unit):
            return False
        return late.sum() < _MIN_ROWS or self._steps(after.reversed(), bad.reversed(), piece, longest, unit)

    def _steps(self, past: Samples, bad: Samples, piece: int, longest: float, unit: tuple[float, float]) -> bool:
        """Whether what is bad steps away from the past: where it begins, or a piece later, as one may be mixed."""
        factor, offset = unit
        right_before = past.values[past.times >= bad.times[0] - longest]
        if len(right_before) < _MIN_ROWS:  # nothing came for some time: what came last
            right_before = past.values[-max(_MIN_ROWS, piece) :]
        for first in (0, piece):
            times, values = bad.times[first:], bad.values[first:]
            if len(values) < _MIN_ROWS:
                break
            inside = times <= times[0] + longest
            after, lasting = values[inside], float(times[inside][-1] - times[0])
            undone = (after - offset) / factor
            logarithmic = all(np.nanmin(each) > 0 for each in (self.known, right_before, after, undone))
            usual = [each for each in self._usual(longest, lasting, logarithmic=logarithmic) if not np.isnan(each)]
            if len(usual) < _MIN_CUTS:  # too little is known of its course: what shares no value with it is beyond it
                lowest, highest = np.nanmin(right_before), np.nanmax(right_before)
                return bool(np.nanmin(after) > highest or np.nanmax(after) < lowest)
            apart, left = (_apart(right_before, each, logarithmic=logarithmic) for each in (after, undone))
            if apart > max(usual) and left < _CLOSER * apart:
                return True
        return False

    def _usual(self, longest: float, lasting: float, *, logarithmic: bool) -> list[float]:
        """Return how far stretches of earlier rows lie from what was right before each."""
        first, last = self.before[0] + longest, self.before[-1] - lasting
        if first > last:
            return []
        cuts = np.linspace(first, last, _CUTS)
        starts, middles = (np.searchsorted(self.before, cuts - back) for back in (longest, 0.0))
        ends = np.searchsorted(self.before, cuts + lasting, "right")
        return [
            _apart(self.known[start:middle], self.known[middle:end], logarithmic=logarithmic)
            for start, middle, end in zip(starts, middles, ends, strict=True)
        ]


def _apart(one: Array, other: Array, *, logarithmic: bool) -> float:
    """Return how far two samples lie apart; NaN where either has too few values."""
    known = [each[~np.isnan(each)] for each in (one, other)]
    if min(map(len, known)) < _MIN_ROWS:
        return float("nan")
    quantiles = [np.quantile(each, _GRID) for each in known]
    if logarithmic:
        quantiles = [np.log(each) for each in quantiles]
    return float(np.abs(quantiles[0] - quantiles[1]).mean())
