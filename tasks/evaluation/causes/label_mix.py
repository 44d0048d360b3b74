"""The part of the labels of several classes: what other rates of the classes lose at the same inputs."""

from __future__ import annotations

import numpy as np

from expectations.families import Scores
from expectations.metrics import Array
from tasks.evaluation.causes.comparison import PeriodComparison
from tasks.evaluation.causes.resamples import Side
from tasks.evaluation.causes.shifts import STEPS, LabelShift, interpolated
from tasks.evaluation.scaling import log_chances, one_hot, scale_classes, softmax

_PRIOR = 1.0
"""Rows that intercepts of zero and a slope of one are worth."""
_ROUNDS = 200
_SHOWN = 3


def mix_shift(both: PeriodComparison, new: Side, shared: tuple[Array, Array], *, pure: bool) -> LabelShift | None:
    """Return what a shift of the scores of all rows loses, one amount a class; None where no rate has moved."""
    old, rows = both.old.rows, new.rows
    classes = rows.prediction.shape[1]
    labels = [one_hot(each.label, classes) for each in (old, rows)]
    line, _ = scale_classes(old.prediction, old.label, np.full(classes + 1, _PRIOR), shared[0])
    scores = [line[:-1] + line[-1] * log_chances(each.prediction) for each in (old, rows)]
    known = [softmax(each) for each in scores]
    moved = means(new, labels[1] - known[1], shared[1]) - means(both.old, labels[0] - known[0], shared[0])
    if not any_beyond(both, moved, 0.99):
        return None
    rates = means(both.old, labels[0], shared[0])[:, 0], means(new, labels[1], shared[1])[:, 0]
    shift = shift_to(scores[1], rates[1], shared[1])
    certain = certain_losses(both, rows.prediction)
    base = (known[1] * certain).sum(axis=1)
    steps = [(softmax(scores[1] + step * shift) * certain).sum(axis=1) - base for step in STEPS]
    size = moved[:, 0] @ moved / max(float(moved[:, 0] @ moved[:, 0]), 1e-300)  # along the move that is seen
    lost = interpolated(np.stack([new.mean(each, shared[1]) for each in steps]), size)
    alone = (softmax(scores[1] + shift) * certain).sum(axis=1) - base
    if pure:  # the inputs moved with the labels alone: what that loses is the labels' too
        past = (known[0] * certain_losses(both, old.prediction)).sum(axis=1)
        lost = lost + new.mean(base) - both.old.mean(past)
    spread = (known[1] * np.square(shift - known[1] @ shift[:, None])).sum(axis=1)
    off = [(label - each.prediction) @ shift for label, each in zip(labels, (old, rows), strict=True)]
    return LabelShift(
        lost, f"the label rates: {say_rates(both, *rates)} at the same inputs", new.loss - alone, spread, *off
    )


def rates_moved(both: PeriodComparison, new: Side) -> Array | None:
    """Return weights with which earlier rows have the window's class rates; None where these are no others."""
    classes = new.rows.prediction.shape[1]
    labels = [one_hot(each.label, classes) for each in (both.old.rows, new.rows)]
    rates = means(both.old, labels[0]), means(new, labels[1])
    before, now = rates[0][:, 0], rates[1][:, 0]
    if not any_beyond(both, rates[1] - rates[0], 0.95) or np.any((before == 0) & (now > 0)):
        return None
    return np.asarray(labels[0] @ np.divide(now, before, out=np.zeros(classes), where=before > 0))


def means(side: Side, values: Array, weights: Array | None = None) -> Array:
    """Return the mean of each column over all rows, then over each resample, shape (n_columns, 1 + n_replicates)."""
    return np.stack([side.mean(each, weights) for each in values.T])


def any_beyond(both: PeriodComparison, moved: Array, confidence: float) -> bool:
    """Whether one of several moves is not nothing (Bonferroni)."""
    level = 1 - (1 - confidence) / max(1, len(moved) - 1)
    return any(both.chance.beyond(each, level) for each in moved)


def shift_to(scores: Array, rates: Array, weight: Array) -> Array:
    """Return what to add to scores for their mean probabilities to be rates, by iterative proportional fitting.

    The shift's mean, weighted by the rates, is zero.
    """
    wanted = np.maximum(rates, 0.5 / max(float(weight.sum()), 1.0))
    wanted = wanted / wanted.sum()
    found = np.zeros(len(rates))
    for _ in range(_ROUNDS):
        reached = weight @ softmax(scores + found) / max(float(weight.sum()), 1e-12)
        step = np.log(wanted) - np.log(np.maximum(reached, 1e-300))
        found = np.clip(found + step, -30.0, 30.0)
        if float(np.abs(step).max()) < 1e-8:
            break
    return np.asarray(found - wanted @ found)


def certain_losses(both: PeriodComparison, prediction: Scores) -> Array:
    """Return what each row would lose were it of each class, shape (n_rows, n_classes)."""
    rows, classes = prediction.shape
    return np.stack([both.loss.of(np.full(rows, float(at)), prediction) for at in range(classes)], axis=1)


def say_rates(both: PeriodComparison, before: Array, now: Array) -> str:
    """Say the rates that moved most."""
    names = both.loss.classes or tuple(str(at) for at in range(len(now)))
    most = np.argsort(-np.abs(now - before), kind="stable")[:_SHOWN]
    return ", ".join(f"{names[at]} {before[at]:.1%} before, {now[at]:.1%} now" for at in most)
