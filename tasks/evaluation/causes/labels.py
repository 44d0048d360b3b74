"""The part of the labels: what a shift of all of them loses, by as much as their mean has moved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from expectations.metrics import Array
from tasks.evaluation.causes.comparison import PeriodComparison
from tasks.evaluation.causes.covariates import log_odds
from tasks.evaluation.causes.label_mix import mix_shift, rates_moved
from tasks.evaluation.causes.resamples import Side
from tasks.evaluation.causes.shifts import STEPS, LabelShift, interpolated
from tasks.evaluation.scaling import newton
from tasks.evaluation.segments import worst_segment

_HARDLY = 0.3
"""Times the move of labels in a segment below which those elsewhere are taken to have stayed."""
_CLIP = 1e-6


def only_labels_moved(both: PeriodComparison, new: Side, kept: npt.NDArray[np.intp]) -> bool:
    """Whether inputs are those of earlier rows once these have the window's label rate."""
    if new.rows.prediction.ndim > 1:
        weights = rates_moved(both, new)
        return weights is not None and log_odds(both, kept, weights) is None
    rates = both.old.mean(both.old.rows.label), new.mean(new.rows.label)
    if not both.loss.classifies or not both.chance.beyond(rates[1] - rates[0]):
        return False
    old, now = float(rates[0][0]), float(rates[1][0])
    if not (0 < old < 1 and 0 < now < 1):
        return False
    weight = np.where(both.old.rows.label == 1, now / old, (1 - now) / (1 - old))
    return log_odds(both, kept, weight) is None


def label_shift(both: PeriodComparison, new: Side, shared: tuple[Array, Array], *, pure: bool) -> LabelShift | None:
    """Return what a shift of the labels' mean loses; None where it has not moved."""
    if new.rows.prediction.ndim > 1:
        return mix_shift(both, new, shared, pure=pure)
    if both.loss.classifies:
        return rate_shift(both, new, shared, pure=pure)
    return level_shift(both, new, shared)


def level_shift(both: PeriodComparison, new: Side, shared: tuple[Array, Array]) -> LabelShift | None:
    """Return what a shift of all values loses, by a difference or a factor."""
    rows = new.rows
    error = both.old.rows.label - both.old.rows.prediction, rows.label - rows.prediction
    moved = new.mean(error[1], shared[1]) - both.old.mean(error[0], shared[0])
    if not both.chance.beyond(moved, 0.99):
        return None
    shift = float(moved[0])
    choices: list[tuple[Callable[[float], Array], str]] = [
        (lambda step: rows.label - step * shift, f"labels {'higher' if shift > 0 else 'lower'} by {abs(shift):.3g}")
    ]
    answers, units = [rows.prediction + shift], [np.ones(len(rows))]
    if min(both.old.rows.label.min(), rows.label.min()) >= 0:
        means = [float(both.old.mean(each, shared[0])[0]) for each in (both.old.rows.label, both.old.rows.prediction)]
        now = [float(new.mean(each, shared[1])[0]) for each in (rows.label, rows.prediction)]
        if min(*means, *now) > 0 and (times := (now[0] / now[1]) / (means[0] / means[1])) > 0:
            choices.append((lambda step: rows.label * times**-step, f"labels {times:.2f} times as high"))
            answers.append(rows.prediction * times)
            units.append(np.maximum(rows.prediction, 0.0))
    fixed = [float(new.mean(both.loss.of(rows.label, each), shared[1])[0]) for each in answers]
    best = int(np.argmin(fixed))
    choice, words = choices[best]
    without = [both.loss.of(choice(step), rows.prediction) for step in STEPS]
    known = np.stack([new.mean(new.loss - each, shared[1]) for each in without])
    left = both.loss.of(choice(1.0), rows.prediction)
    said = f"the labels' level: {words} at the same inputs"
    return LabelShift(interpolated(known, moved / shift), said, left, units[best], *error)


def rate_shift(both: PeriodComparison, new: Side, shared: tuple[Array, Array], *, pure: bool) -> LabelShift | None:
    """Return what a shift of the log-odds of positive labels loses."""
    rows = new.rows
    if min(len(np.unique(both.old.rows.label)), len(np.unique(rows.label))) < 2:
        return None
    raw = [np.clip(each, _CLIP, 1 - _CLIP) for each in (both.old.rows.prediction, rows.prediction)]
    odds = [np.log(each / (1 - each)) for each in raw]
    slope, level = _platt(odds[0], both.old.rows.label, shared[0])
    known = [_probability(level + slope * each) for each in odds]
    moved = new.mean(rows.label - known[1], shared[1]) - both.old.mean(both.old.rows.label - known[0], shared[0])
    if not both.chance.beyond(moved, 0.99):
        return None
    rate = float(new.mean(rows.label, shared[1])[0])
    shift = _offset(level + slope * odds[1], rate, shared[1])
    certain = [both.loss.of(np.full(len(rows), value), rows.prediction) for value in (0.0, 1.0)]

    def expected(chance: Array) -> Array:
        return chance * certain[1] + (1 - chance) * certain[0]

    base = expected(known[1])
    steps = [expected(_probability(level + slope * odds[1] + step * shift)) - base for step in STEPS]
    lost = interpolated(np.stack([new.mean(each, shared[1]) for each in steps]), moved / moved[0])
    alone = expected(_probability(level + slope * odds[1] + shift)) - base
    if pure:  # the inputs moved with the labels alone: what that loses is the labels' too
        past = [both.loss.of(np.full(len(both.old.rows), value), both.old.rows.prediction) for value in (0.0, 1.0)]
        lost = lost + new.mean(base) - both.old.mean(known[0] * past[1] + (1 - known[0]) * past[0])
    before = float(both.old.mean(both.old.rows.label, shared[0])[0])
    words = f"the label rate: {before:.1%} before, {rate:.1%} now at the same inputs"
    off = [each.label - each.prediction for each in (both.old.rows, rows)]
    return LabelShift(lost, words, new.loss - alone, known[1] * (1 - known[1]), *off)


def only_somewhere(
    both: PeriodComparison, new: Side, kept: npt.NDArray[np.intp], shared: tuple[Array, Array], shift: LabelShift
) -> bool:
    """Whether labels moved in one segment and hardly elsewhere: no shift of all of them."""
    found = worst_segment(*both.columns.plain(kept), (both.old.loss, new.loss), shared)
    if found is None:
        return False
    sides = (both.old, found.reference, shared[0], shift.off), (new, found.window, shared[1], shift.off_now)
    moved = []
    for inside in (True, False):
        of = [side.mean(off, weight * (rows == inside)) for side, rows, weight, off in sides]
        unit = float(new.mean(shift.unit, shared[1] * (found.window == inside))[0])
        moved.append((of[1] - of[0])[0] / max(unit, 1e-12))
    return bool(abs(moved[1]) < _HARDLY * abs(moved[0]))


def _probability(odds: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -30, 30))))


def _platt(odds: Array, label: Array, weight: Array) -> tuple[float, float]:
    """Return slope and level of the log-odds that fit the labels best (Platt 1999), by Newton's method."""
    weight = weight / max(float(weight.sum()), 1e-12)

    def lost(line: Array) -> float:
        scores = line[0] * odds + line[1]
        return float(weight @ (np.logaddexp(0.0, scores) - label * scores) + 1e-4 * (line[0] - 1) ** 2 / 2)

    def derivatives(line: Array) -> tuple[Array, Array]:
        chance = _probability(line[0] * odds + line[1])
        error, curve = weight * (label - chance), weight * chance * (1 - chance)
        gradient = np.array([float(error @ odds) - 1e-4 * (line[0] - 1), float(error.sum())])
        cross = float(curve @ odds)
        return gradient, np.array([[float(curve @ odds**2) + 1e-4, cross], [cross, float(curve.sum()) + 1e-9]])

    line, _ = newton(np.array([1.0, 0.0]), lost, derivatives)
    return float(line[0]), float(line[1])


def _offset(odds: Array, rate: float, weight: Array) -> float:
    """Return what to add to log-odds for their mean probability to be a rate, by halving."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        if float(weight @ _probability(odds + middle)) / max(float(weight.sum()), 1e-12) < rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2
