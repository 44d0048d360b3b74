"""How values of a window are summed up: the same additions in the same order for one row and for many.

A sum of floats depends on its order, so no running totals are kept: each window is added up from its oldest value to
its newest. Over many rows that is done for all windows at once, one value of each after the other.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from expectations.history import AggregateName

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


class Aggregate(ABC):
    """Sums up values, oldest first; of none there is nothing to say (but how many they are)."""

    @abstractmethod
    def of_values(self, values: Floats) -> float:
        """Return it for one window, NaN where there is none."""

    @abstractmethod
    def of_windows(self, values: Floats, first: Places, after: Places) -> Floats:
        """Return it for many windows, bit by bit what `of_values` gives.

        Parameters
        ----------
        values : ndarray of shape (n_values,)
        first, after : ndarray of int of shape (n_windows,)
            Each window is `values[first:after]`.

        Returns
        -------
        ndarray of shape (n_windows,)
        """


def fold(
    values: Floats, first: Places, after: Places, start: Floats, step: Callable[[Floats, Floats, Places], Floats]
) -> Floats:
    """Go through all windows at once, from the oldest value of each to its newest.

    Parameters
    ----------
    start : ndarray of shape (n_windows,)
    step : callable
        Takes what was found so far, the next value of these windows, and which windows they are.

    Returns
    -------
    ndarray of shape (n_windows,)
    """
    lengths = after - first
    order = np.argsort(-lengths, kind="stable")
    shorter, begins, found = -lengths[order], first[order], start[order]
    longer = len(order)
    for place in range(int(-shorter[0]) if longer else 0):
        longer = int(np.searchsorted(shorter[:longer], -place))  # those with more than `place` values
        found[:longer] = step(found[:longer], values[begins[:longer] + place], order[:longer])
    result = np.empty_like(found)
    result[order] = found
    return result


def _added_up(values: Floats) -> float:
    """Return the sum of one value after the other; neither NumPy's `sum`, by pairs, nor Python's adds like that."""
    return float(np.add.accumulate(values)[-1])


class LastValue(Aggregate):
    """The newest value."""

    def of_values(self, values: Floats) -> float:
        """Return it for one window."""
        return float(values[-1]) if len(values) else math.nan

    def of_windows(self, values: Floats, first: Places, after: Places) -> Floats:
        """Return it for many windows."""
        found = np.full(len(first), np.nan)
        some = after > first
        found[some] = values[after[some] - 1]
        return found


class HowMany(Aggregate):
    """How many values there are, 0 where there is none."""

    def of_values(self, values: Floats) -> float:
        """Return it for one window."""
        return float(len(values))

    def of_windows(self, values: Floats, first: Places, after: Places) -> Floats:
        """Return it for many windows."""
        del values
        return (after - first).astype(np.float64)


class Total(Aggregate):
    """The sum."""

    def of_values(self, values: Floats) -> float:
        """Return it for one window."""
        return _added_up(values) if len(values) else math.nan

    def of_windows(self, values: Floats, first: Places, after: Places) -> Floats:
        """Return it for many windows."""
        start = np.where(after > first, 0.0, np.nan)
        return fold(values, first, after, start, lambda found, value, _: found + value)


class Average(Aggregate):
    """The arithmetic mean."""

    def of_values(self, values: Floats) -> float:
        """Return it for one window."""
        return _SUM.of_values(values) / len(values) if len(values) else math.nan

    def of_windows(self, values: Floats, first: Places, after: Places) -> Floats:
        """Return it for many windows."""
        return np.asarray(_SUM.of_windows(values, first, after) / np.maximum(after - first, 1))


class SampleDeviation(Aggregate):
    """The sample standard deviation, of two values or more: squared distances to the mean, by one value less."""

    def of_values(self, values: Floats) -> float:
        """Return it for one window."""
        if len(values) < 2:
            return math.nan
        off = values - _MEAN.of_values(values)
        return math.sqrt(_added_up(off * off) / (len(values) - 1))

    def of_windows(self, values: Floats, first: Places, after: Places) -> Floats:
        """Return it for many windows."""
        lengths = after - first
        mean = _MEAN.of_windows(values, first, after)

        def step(found: Floats, value: Floats, places: Places) -> Floats:
            off = value - mean[places]
            return found + off * off

        squares = fold(values, first, after, np.where(lengths > 1, 0.0, np.nan), step)
        return np.asarray(np.sqrt(squares / np.maximum(lengths - 1, 1)))


class Least(Aggregate):
    """The least value."""

    def of_values(self, values: Floats) -> float:
        """Return it for one window."""
        return float(values.min()) if len(values) else math.nan

    def of_windows(self, values: Floats, first: Places, after: Places) -> Floats:
        """Return it for many windows."""
        start = np.where(after > first, np.inf, np.nan)
        return fold(values, first, after, start, lambda found, value, _: np.minimum(found, value))


class Greatest(Aggregate):
    """The greatest value."""

    def of_values(self, values: Floats) -> float:
        """Return it for one window."""
        return float(values.max()) if len(values) else math.nan

    def of_windows(self, values: Floats, first: Places, after: Places) -> Floats:
        """Return it for many windows."""
        start = np.where(after > first, -np.inf, np.nan)
        return fold(values, first, after, start, lambda found, value, _: np.maximum(found, value))


_SUM, _MEAN = Total(), Average()
LAST = LastValue()
AGGREGATES: Mapping[AggregateName, Aggregate] = {
    "mean": _MEAN,
    "min": Least(),
    "max": Greatest(),
    "sum": _SUM,
    "count": HowMany(),
    "std": SampleDeviation(),
}
