"""How far a mean over dependent rows can lie from another by chance.

Rows that are neighbours in time are alike, so a window of a thousand of them says less than a thousand rows. Everything
here works on sums over *units* (a day, or a run of rows) and never on single rows: the variance of a mean is that of an
AR(1) process over units, with its coefficient not estimated but integrated over a grid (restricted likelihood,
reference prior), so that the doubt about it is part of the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, stdtr

Array = npt.NDArray[np.float64]

GRID: Array = np.sin(np.linspace(-0.2, 1.535, 20))
"""Coefficients of the AR(1), equally spaced in arcsine."""
_MIN_UNITS = 3
_BISECTIONS = 30
_TINY = 1e-300
_COARSE, _FINE = 5, 20
_CLEARLY = 2.5
_MAX_TOGETHER = 20


@dataclass(frozen=True)
class Spread:
    """Posterior of the variance of one unit's mean, by coefficient.

    Attributes
    ----------
    weight, unit : ndarray of shape (n_series, n_grid)
        Posterior weight of each coefficient, and the variance of the mean over one unit given it.
    freedom : int
        Degrees of freedom of that variance.
    """

    weight: Array
    unit: Array
    freedom: int


def spread_of(*samples: Array) -> Spread | None:
    """Fit series of deviations of units from their own sample's mean; the samples share variance and coefficient.

    Parameters
    ----------
    samples : ndarray of shape (n_series, n_units)
        Of each sample; fewer than three units say nothing and are left out.

    Returns
    -------
    Spread or None
        None where no sample has three units.
    """
    phi = GRID[None, :]
    total: Array | float = 0.0
    likelihood: Array | float = 0.0
    freedom = 0
    for sample in samples:
        units = sample.shape[1]
        if units < _MIN_UNITS:
            continue
        first, last = sample[:, :1], sample[:, -1:]
        squares, products = (sample**2).sum(1)[:, None], (sample[:, :-1] * sample[:, 1:]).sum(1)[:, None]
        whole = (1 + phi**2) * squares - phi**2 * (first**2 + last**2) - 2 * phi * products
        mean = (1 - phi) * ((1 - phi) * sample.sum(1)[:, None] + phi * (first + last))
        ones = (1 - phi) * (2 + (units - 2) * (1 - phi))
        total = total + np.maximum(whole - mean**2 / ones, 0)
        likelihood = likelihood + 0.5 * np.log1p(-(phi**2)) - 0.5 * np.log(ones)
        freedom += units - 1
    if not freedom:
        return None
    residual = np.maximum(np.asarray(total), _TINY)
    log = likelihood - freedom / 2 * np.log(residual)
    weight = np.exp(log - log.max(1, keepdims=True))
    return Spread(weight / weight.sum(1, keepdims=True), residual / (freedom * (1 - phi**2)), freedom)


def _share(size: Array, phi: Array) -> Array:
    """Variance of the mean of `size` neighbours over that of one, for an AR(1)."""
    whole = np.maximum(size, 1.0)
    power = np.where(phi < 0, np.sign(phi) ** np.round(whole), 1.0) * np.abs(phi) ** whole
    return np.asarray(((1 + phi) / (1 - phi) - 2 * phi * (1 - power) / (whole * (1 - phi) ** 2)) / whole)


def variance_of_mean(spread: Spread, units: float, rows: Array, rows_in_unit: Array, row: Array) -> Array:
    """Variance of the mean of a sample, shape (n_series, n_grid).

    Parameters
    ----------
    units : float
        Length of the sample in units; a part of one is interpolated between a row and a unit, and never taken for less
        uncertain than a unit.
    rows, rows_in_unit, row : ndarray of shape (n_series,)
        Rows of the sample and of a unit that count, and the variance of one row.
    """
    if units >= 1:
        return np.asarray(spread.unit * _share(np.full((1, 1), units), GRID[None, :]))
    rows, rows_in_unit, row = rows[:, None], rows_in_unit[:, None], np.maximum(row[:, None], _TINY)
    target = np.clip(spread.unit / row, 0, 1)
    low, high = np.zeros_like(target), np.full_like(target, 0.99999)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        less = _share(rows_in_unit, middle) < target
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    return np.asarray(np.maximum(row * _share(rows, (low + high) / 2), spread.unit))


def chance_of(difference: Array, variance: Array, spread: Spread) -> Array:
    """Two-sided chance of so large a difference of means: a mixture of t over the grid, shape (n_series,)."""
    statistic = np.abs(difference)[:, None] / np.sqrt(np.maximum(variance, _TINY))
    return np.asarray((spread.weight * 2 * stdtr(spread.freedom, -np.minimum(statistic, 1e100))).sum(1))


def chance_of_counts(seen: Array, window: Array, before: Array, reference: Array) -> Array:
    """Two-sided chance that a rare event comes `seen` times in a window and `before` times in the reference.

    Given their sum, the first is binomial with the window's share of all rows. Effective counts may be fractions.
    """
    share = window / np.maximum(window + reference, _TINY)
    more = np.where(seen > 0, betainc(np.maximum(seen, _TINY), before + 1, share), 1.0)
    fewer = np.where(before > 0, betainc(np.maximum(before, _TINY), seen + 1, 1 - share), 1.0)
    return np.asarray(np.minimum(1.0, 2 * np.minimum(more, fewer)))


@dataclass(frozen=True)
class Traces:
    """What series of units show of their own memory.

    Attributes
    ----------
    correlation : ndarray of shape (n_columns, n_units)
        Autocorrelation by lag.
    coarse, fine : ndarray of shape (n_columns,)
        Variance of the means of a fifth and of a twentieth of the series, times their length, over the variance of a
        unit: how many units count as one, if memory is shorter than that.
    live : ndarray of shape (n_columns,)
        Whether they vary at all.
    """

    correlation: Array
    coarse: Array
    fine: Array
    live: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, series: Array) -> Traces:
        """Trace columns of several series each, shape (n_columns, n_series, n_units): they weigh by their variance."""
        units = series.shape[2]
        scale = (series**2).mean(2).sum(1)
        live = scale > _TINY
        divisor = np.where(live, scale, 1.0)
        size = 1 << (2 * units - 1).bit_length()
        power = (np.abs(np.fft.rfft(series, size, axis=2)) ** 2).sum(1)
        correlation = np.fft.irfft(power, size, axis=1)[:, :units] / units / divisor[:, None]
        coarse, fine = (
            _block_variance(series, blocks) / divisor if units >= _FINE else np.ones(len(series))
            for blocks in (_COARSE, _FINE)
        )
        return cls(correlation, coarse, fine, live)

    def __add__(self, other: Traces) -> Traces:
        return Traces(
            np.concatenate([self.correlation, other.correlation]),
            np.concatenate([self.coarse, other.coarse]),
            np.concatenate([self.fine, other.fine]),
            np.concatenate([self.live, other.live]),
        )


def _block_variance(series: Array, blocks: int) -> Array:
    length = series.shape[2] // blocks
    means = series[:, :, : length * blocks].reshape(*series.shape[:2], blocks, length).mean(3)
    return np.asarray((means.var(2, ddof=1) * length).sum(1))


def memory_of(traces: Traces, together: float, *, resolved: bool, short: bool) -> Array:
    """Integrated autocorrelation time of columns in units, shape (n_columns,): how many units count as one.

    What a column shows is drawn towards what all show together (they share a clock), as much as if these had been seen
    over `together` units. Of Geyer's initial positive sequence, corrected for the mean that was taken away, and the
    variance of long blocks, which a cycle does not hide memory from, the larger.

    Unless units are `resolved` (days: the noise of rows is gone from them, and what is left is memory), it is infinite
    where the mean of a fifth of the series varies clearly more, times its length, than that of a twentieth: the end of
    the memory is then not in sight, and any number for it too small. Likewise where a sample is `short` and shows any.
    """
    units = traces.correlation.shape[1]
    live = traces.live
    if units < _MIN_UNITS or not live.any():
        return np.ones(len(live))
    own = units / (units + together)
    weight = np.where(live, own, 0.0)
    correlation = weight[:, None] * traces.correlation + (1 - weight)[:, None] * traces.correlation[live].mean(0)
    found = np.ones(len(live))
    even = units // 2 * 2
    for _ in range(4):
        corrected = correlation + (found / units)[:, None] * np.clip(1 - correlation, 0, 1)
        pairs = corrected[:, :even:2] + corrected[:, 1:even:2]
        positive = np.logical_and.accumulate(pairs > 0, axis=1)
        falling = np.minimum.accumulate(pairs, axis=1)
        found = np.clip(2 * np.where(positive, falling, 0).sum(1) - 1, 0.0, units)
    doubt = math.sqrt(own**2 + (1 - own**2) / min(int(live.sum()), _MAX_TOGETHER))
    if units >= _FINE:
        coarse, fine = (weight * each + (1 - weight) * each[live].mean() for each in (traces.coarse, traces.fine))
        error = doubt * math.sqrt(2 / (_COARSE - 1) + 2 / (_FINE - 1))
        found = np.maximum(found, coarse)
        if not resolved:
            found = np.where(coarse > (1 + _CLEARLY * error) * fine, np.inf, found)
    if short and not resolved:
        for lags in (2, max(2, units // 6)):
            error = doubt / math.sqrt(units * lags)
            found = np.where(correlation[:, 1 : lags + 1].mean(1) + 1 / units > _CLEARLY * error, np.inf, found)
    return np.maximum(found, 1.0)
