"""Many streams at once, each a bet against its not having changed: the arithmetic behind `streams`."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.evaluation.cadences import Counts, Rules
from tasks.evaluation.e_process_state import BINS, QUEUE, State, fresh_state

Array = npt.NDArray[np.float64]

_NORMAL = NormalDist()
_ROOT = 1 / math.sqrt(2 * math.pi)

_FINE, _WIDEST = 0.05, 12.0
"""Residuals are kept as counts in bins that are fine around zero, whatever their spread, and end at ± 12."""
_SCALE = BINS / 2 / math.asinh(_WIDEST / _FINE)
_ORDER = 1000
"""Values that are kept of a reference, evenly among the sorted ones."""
_BEYOND = 3.0
"""Deviations by which a value beyond the reference's range is distinguished from its greatest, at most."""
_DECAY = 0.75
"""Of the moving average: it foretells a slow level under noise."""
_WARMUP = 24
_PRIOR, _TOLERANCE = 10.0, 0.1
"""Of the margin: blocks that count as independent beforehand, and excess of variance that is let pass."""
_CALM, _UNREST = 0.98, 0.15
"""Of the running variance of the scores: its decay, and the excess that is let pass."""
MAX_ODDS = 1e12
_SEASONS = 4
_BETTER = 0.95
"""A longer season is taken where it leaves less than this of the residuals' variance."""
_DEPENDENT = 2.33
"""Deviations of the autocorrelation of a reference by the day beyond which days are dependent."""


class Bank:
    """Many streams that are looked at together, each against its own reference.

    Parameters
    ----------
    reference : ndarray of shape (n_reference, n_streams)
        In the order of time, without NaN.
    indices : ndarray of shape (n_reference,)
        The number of each look's hour, day or batch: one more than the look before where none is missing.
    slots : ndarray of shape (n_reference,)
        Hour of the week, counted from Monday; 0 by the day and by the batch.
    season : int
        Looks in a season, one of those of the cadence.
    rules : Rules
    """

    def __init__(self, reference: Array, indices: Counts, slots: Counts, season: int, rules: Rules) -> None:
        kept = np.sort(reference, axis=0)
        if len(kept) > _ORDER:
            kept = kept[np.linspace(0, len(kept) - 1, _ORDER).round().astype(int)]
        deviation = reference.std(0)
        independent = rules.cadence.whitened | ~_dependent(reference)
        self._set(kept, np.where(deviation > 0, deviation, 1.0), independent, rules)
        self.state = state = fresh_state(rules, season, reference.shape[1])
        half, judged = state.squares.copy(), 0
        for at, (values, index, slot) in enumerate(zip(reference, indices.tolist(), slots.tolist(), strict=True)):
            self._scored(self._normal(values), index, slot)
            if at == len(reference) // 2:
                half, judged = state.squares.copy(), state.judged
        self.left = (state.squares - half) / max(1, state.judged - judged)
        """Mean square of the residuals in the latter half of the reference, of each stream."""
        state.base, state.known = state.means[:, 0].copy(), state.judged

    def _set(self, order: Array, deviation: Array, independent: npt.NDArray[np.bool_], rules: Rules) -> None:
        cadence, n_kept = rules.cadence, len(order)
        self.rules, self.deviation, self.independent = rules, deviation, independent
        self.order: list[list[float]] = order.T.tolist()
        sizes = np.array(cadence.slow + cadence.fast)
        by_rank = np.arange(len(sizes)) >= len(cadence.slow)
        self._sizes = (np.concatenate([sizes, -sizes]) if rules.two_sided else sizes)[:, None]
        self._kinds = np.tile(by_rank.astype(int), 2 if rules.two_sided else 1)
        self._halves = self._sizes**2 / 2
        self._all_independent = bool(independent.all())
        self._table = [_NORMAL.inv_cdf((rank + 1) / (2 * n_kept + 2)) for rank in range(2 * n_kept + 1)]

    @classmethod
    def resumed(
        cls,
        order: Array,
        deviation: Array,
        independent: npt.NDArray[np.bool_],
        rules: Rules,
        state: Mapping[str, Any],
    ) -> Bank:
        """Return streams that go on from what was stored of them."""
        bank = cls.__new__(cls)
        bank._set(order, deviation, independent, rules)  # noqa: SLF001 (its own class)
        bank.state = State(**state)
        return bank

    def look(self, values: Array, index: int, slot: int, time: float) -> bool:
        """Take in the next value of each stream; say whether it could be judged (the one after a gap cannot)."""
        state, cadence = self.state, self.rules.cadence
        if state.looked >= cadence.life:
            state.looked = 0
            state.odds[:], state.track[:], state.total[:] = 0.0, 0.0, 0.0
        normal = self._normal(values)
        scores = self._scored(normal, index, slot)
        if scores is None:
            return False
        state.looked += 1
        gain = self._sizes * scores.take(self._kinds, 0) - self._halves
        state.odds = np.minimum((state.odds + 1 / cadence.life) * np.exp(gain), MAX_ODDS)
        moved = normal - state.base[slot % len(state.base)]
        state.total += moved
        track, goes_on = state.track, state.track[0] > 0
        track *= goes_on
        track[0] += gain
        track[1] += moved
        track[2] += 1
        np.copyto(state.since, time, where=~goes_on)
        return True

    def odds(self) -> Array:
        """Return the odds that each stream has changed: a martingale from 1 where it has not."""
        rest = max(0.0, 1 - self.state.looked / self.rules.cadence.life)
        odds = np.add.reduce(self.state.odds) / len(self._kinds) + rest
        return odds if self._all_independent else np.where(self.independent, odds, 1.0)

    def change(self) -> tuple[Array, Array]:
        """Return since when each stream most likely changed, and by how many deviations; NaN where nothing says so."""
        state, streams = self.state, np.arange(len(self.order))
        likely = state.track[0].argmax(0)
        evidence, moved, count = state.track[:, likely, streams]
        before = (state.total - moved) / np.maximum(state.known + state.looked - count, 1)
        size = moved / np.maximum(count, 1) - before
        none = (evidence <= 0) | ~self.independent
        return np.where(none, np.nan, state.since[likely, streams]), np.where(none, np.nan, size)

    def evidence(self, shift: float) -> Array:
        """Return what one look adds to the logarithm of the odds, in the mean, after a shift of so many deviations."""
        state = self.state
        scale = np.sqrt(state.squares / (state.judged + 1)) * state.margin[0]
        kept = 1 - state.fit[3] - state.fit[4]
        return np.asarray((shift * kept / scale) ** 2 / 2)

    def _normal(self, values: Array) -> Array:
        """Return normal scores by the reference, ties in the middle; beyond its range deviations are added."""
        table, result = self._table, []
        for value, order, deviation in zip(values.tolist(), self.order, self.deviation.tolist(), strict=True):
            score = table[bisect_left(order, value) + bisect_right(order, value)]
            if value > order[-1]:
                score += min((value - order[-1]) / deviation, _BEYOND)
            elif value < order[0]:
                score -= min((order[0] - value) / deviation, _BEYOND)
            result.append(score)
        return np.array(result)

    def _scored(self, normal: Array, index: int, slot: int) -> Array | None:
        """Return the scores by deviation and by rank, standard normal where nothing changed; None where not judged."""
        state = self.state
        joined, state.index = index == state.index + 1, index
        residual = self._residual(normal, slot, joined=joined) if self.rules.cadence.whitened else normal
        if residual is None:
            return None
        scores = np.empty((2, len(residual)))
        scores[0] = residual / np.sqrt(state.squares / (state.judged + 1))
        scores[1] = self._ranked(residual.tolist())
        state.squares += residual * residual
        state.judged += 1
        judged = scores / state.margin
        self._sum(scores)
        rank, (mean, square) = judged[1].copy(), state.calm
        judged[1] /= np.sqrt(np.maximum(1.0, square - mean * mean - _UNREST))
        if state.judged > _WARMUP:
            mean += (1 - _CALM) * (rank - mean)
            square += (1 - _CALM) * (rank * rank - square)
        return judged

    def _residual(self, normal: Array, slot: int, *, joined: bool) -> Array | None:
        """Return the recursive residual on season, look before and moving average, and learn from the look."""
        state, recent = self.state, self.state.recent
        at = slot % len(state.means)
        recent[0] = normal
        means, count = state.means[at], int(state.counts[at])
        away = recent - means
        recent[1] = normal
        recent[2] += (1 - _DECAY) * (normal - recent[2])
        if not joined:  # the look before is not known; this one is that of the next
            return None
        means += away / (count + 1)
        state.counts[at] = count + 1
        if count == 0:
            return None
        away *= math.sqrt(count / (count + 1))
        value, one, two = away
        first, mixed, second, weight_one, weight_two = state.fit
        gain_one, gain_two = first * one + mixed * two, mixed * one + second * two
        leverage = 1 + one * gain_one + two * gain_two
        error = value - weight_one * one - weight_two * two
        weight = 1 / np.maximum(1.0, one * one)  # else a jump teaches at once that values stay where they are
        damped = weight / (1 + weight * (leverage - 1))
        share_one, share_two = gain_one * damped, gain_two * damped
        first -= gain_one * share_one
        mixed -= gain_one * share_two
        second -= gain_two * share_two
        weight_one += share_one * error
        weight_two += share_two * error
        return np.asarray(error / np.sqrt(leverage))

    def _ranked(self, residuals: list[float]) -> list[float]:
        """Return the mean of the normal score over the ranks that each residual may have among all before and itself.

        By convexity that keeps the level wherever ties broken by lot would (Jensen), and needs no lot.
        """
        result, count = [], self.state.judged + 1
        for residual, below in zip(residuals, self.state.below, strict=True):
            place = min(max(int(math.asinh(residual / _FINE) * _SCALE + BINS / 2), 0), BINS - 1)
            low, high = below.item(place), below.item(place + 1) + 1
            result.append((_density(low / count) - _density(high / count)) * count / (high - low))
            below[place + 1 :] += 1
        return result

    def _sum(self, scores: Array) -> None:
        """Add scores to their block; a full one widens the margin, after the reference when seven more are full."""
        state, block = self.state, self.rules.cadence.block
        state.sums += scores
        if state.judged % block:
            return
        square, state.sums = state.sums**2 / block, np.zeros_like(state.sums)
        if state.judged == block:  # the first block's ranks are among too few
            return
        if state.known:
            square, state.queue = state.queue[0], np.concatenate([state.queue[1:], square[None]])
            state.waiting += 1
            if state.waiting <= QUEUE:
                return
        state.excess += square
        state.blocks += 1
        state.margin = np.sqrt(np.maximum(1.0, (state.excess + _PRIOR) / (state.blocks + _PRIOR) - _TOLERANCE))


def season_of(reference: Array, indices: Counts, slots: Counts, rules: Rules) -> Counts:
    """Return the season of each stream: the longest that explains more than the shorter ones, and was seen four times.

    Returns
    -------
    ndarray of shape (n_streams,)
    """
    taken = np.ones(reference.shape[1], dtype=np.int64)
    least = np.full(reference.shape[1], np.inf)
    for season in rules.cadence.seasons:
        if season == 1 or len(reference) >= _SEASONS * season:
            left = Bank(reference, indices, slots, season, rules).left
            better = left < _BETTER * least
            taken, least = np.where(better, season, taken), np.where(better, left, least)
    return taken


def looks_needed(evidence: float, known: int, rules: Rules) -> int | None:
    """Return after how many looks a change is expected to ring; None where that is not within a life.

    What the looks before know of the mean bounds what a change can show: after `k` looks `evidence * known * k / (known
    + k)`. It has to reach the odds of an alarm, and pay for not knowing size and beginning.

    Examples
    --------
    >>> looks_needed(0.125, 2736, Rules()), looks_needed(0.0002, 720, Rules())
    (83, None)
    """
    cadence = rules.cadence
    price = math.log(rules.needed) + math.log(len(cadence.slow + cadence.fast)) + 0.5
    looks = np.arange(1, cadence.life + 1)
    enough = evidence * known * looks / (known + looks) >= price + np.log(cadence.life / looks)
    return int(looks[enough.argmax()]) if enough.any() else None


def _density(share: float) -> float:
    """Return the normal density at the quantile of a share."""
    if not 0 < share < 1:
        return 0.0
    quantile = _NORMAL.inv_cdf(share)
    return math.exp(-quantile * quantile / 2) * _ROOT


def _dependent(reference: Array) -> npt.NDArray[np.bool_]:
    """Say of which streams the values follow on those before: the autocorrelation of their ranks is beyond chance."""
    ranks = np.stack([np.unique(values, return_inverse=True)[1] for values in reference.T], axis=1)
    away = ranks - ranks.mean(0)
    following, square = (away[1:] * away[:-1]).sum(0), (away**2).sum(0)
    return np.asarray(following * math.sqrt(len(ranks)) > _DEPENDENT * square)
