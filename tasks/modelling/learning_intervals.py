"""Intervals that learn again while rows change: from the newest rows whose label is known, at a level that follows.

Adaptive conformal inference (Gibbs and Candès 2021): what lies inside is held against what is declared, and the level
that the quantiles are taken at moves a step towards it. So the share of truths inside comes back to the declared one
however rows change, and a rolling window keeps the intervals as wide as errors are now. The step and the window were
chosen over four years of drift (docs/evaluation.md).
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from expectations.families import Scores, Vector
from tasks.modelling.intervals import Intervals

STEP = 0.1
"""How far the level moves: this share of how far coverage was off since the last time."""
LEVELS = 0.5, 0.99
"""Between which it stays: beyond them a window has too few rows for its quantile."""
HELD_BACK = 0.3
"""Newest share of the rows that judges what the older ones taught, before all of them teach."""
ASTRAY = 0.1
"""How far what was learnt may be off on the rows that judge it, where that is farther than what is answered now."""


class Relearnt(NamedTuple):
    """Intervals that learnt again, and what they were judged by.

    Attributes
    ----------
    intervals : Intervals
        Their `coverage` stays the declared one, whatever level their quantiles were taken at.
    held : float
        Share of the newest rows' truths that lay inside what the older ones taught.
    """

    intervals: Intervals
    held: float


def next_level(level: float, declared: float, covered: float | None) -> float:
    """Return the level after so many truths lay inside; the same one where that is not known."""
    if covered is None:
        return level
    low, high = LEVELS
    return min(high, max(low, level + STEP * (declared - covered)))


def learn_again(
    label: Vector, scores: Scores, declared: float, level: float, *, before: Intervals | None, classifies: bool
) -> Relearnt | str:
    """Learn intervals from ripe rows, or say why they do not replace those of now.

    Parameters
    ----------
    label : ndarray of shape (n_rows,)
    scores : ndarray of shape (n_rows,) or (n_rows, n_classes)
        As they were answered, in order of time.
    before : Intervals, optional
        Those of now.
    """
    cut = len(label) - round(HELD_BACK * len(label))
    learn = partial(Intervals.learn, coverage=level, classifies=classifies, apart=True)
    tried, learnt = learn(label[:cut], scores[:cut]), learn(label, scores)
    if tried is None or learnt is None or cut == len(label):
        return f"{len(label)} ripe rows are too few for a level of {level:.1%}"
    held = float(np.mean(tried.holds(label[cut:], scores[cut:])))
    now = float(np.mean(before.holds(label[cut:], scores[cut:]))) if before is not None else 0.0
    if abs(held - declared) > max(ASTRAY, abs(now - declared)):
        return f"what the older rows taught holds {held:.1%} of the newest truths, and what is answered now {now:.1%}"
    return Relearnt(learnt.model_copy(update={"coverage": declared}), held)
