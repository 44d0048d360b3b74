"""How far what was realised lies from what was drawn: by the windows whose labels have come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tasks.evaluation.estimates.expectation import Expectation
from tasks.evaluation.estimates.scales import LossScale

MIN_SPREAD = 0.2
"""Least standard deviation of the logarithm of realised over expected loss, before any window has come."""
GROWING = 0.75
"""How much the variance of that grows with each window that is not known, relative to the first."""
PRIOR_WINDOWS = 3.0
"""Windows that what the holdout says of that deviation counts as."""
MAX_WINDOWS = 100
"""Windows that say it, the newest: each is forecast from those before it, and older ones hardly move what is said."""
FIRST_VARIANCE, STEP_VARIANCE, NOISE_VARIANCE = 0.05, 0.03, 0.1
"""Of the level when a champion begins, of its step from window to window, and of a window around it."""
FIRST_PRIOR, DRIFT_PRIOR = 2.0, 12.0
"""Champions that begin at a level of zero, and steps of zero, that what was seen is weighed against."""
DAMPING = 0.7
"""Share of the drift that is taken to go on."""


@dataclass(frozen=True)
class Earlier:
    """A window before the one to estimate, whose labels have come.

    Attributes
    ----------
    champion : str
        Who answered it.
    drawn, realised : float
        The metric as expected by drawing alone, and as it was.
    """

    champion: str
    drawn: float
    realised: float


def level_of(
    metric: str, expected: Expectation, scale: LossScale, champion: str, earlier: Sequence[Earlier], behind: int
) -> tuple[float, float, float]:
    """Return the level of realised over expected loss, how far a window may lie from it, and degrees of freedom.

    How far is said by the windows whose labels have come: each is forecast from those that lie `behind` or more before
    it, as this one is.
    """
    runs: dict[str, list[float]] = {}
    for each in earlier[-MAX_WINDOWS:]:
        ratio = scale.of(each.realised) - scale.of(each.drawn)
        if math.isfinite(ratio):
            runs.setdefault(each.champion, []).append(ratio)
    own = runs.pop(champion, [])
    before: list[list[float]] = []
    errors: list[float] = []
    for run in (*runs.values(), own):
        for at, ratio in enumerate(run):
            seen = run[: max(0, at + 1 - behind)]
            errors.append(ratio - forecast(before, seen, at + 1 - len(seen)))
        before.append(run)
    ahead = behind if own else behind - 1
    prior = max(expected.spread.get(metric, MIN_SPREAD), MIN_SPREAD) * math.sqrt(1 + GROWING * ahead)
    freedom = PRIOR_WINDOWS + len(errors)
    spread = math.sqrt((PRIOR_WINDOWS * prior**2 + sum(each**2 for each in errors)) / freedom)
    return forecast(list(runs.values()), own, behind), spread, freedom


def forecast(runs: Sequence[Sequence[float]], own: Sequence[float], behind: int) -> float:
    """Forecast the level of a champion: a walk with a drift (Kalman 1960), as those of champions before it were.

    Parameters
    ----------
    runs : sequence of sequences of float
        Logarithms of realised over expected loss of the windows of champions before, and `own` of this one.
    behind : int
        Windows from the newest of `own` to the one to forecast; where there is none, its number among the champion's.
    """
    steps = [after - before for run in (*runs, own) for before, after in pairwise(run)]
    drift = sum(steps) / (len(steps) + DRIFT_PRIOR)
    firsts = [run[0] for run in runs if run]
    level, variance = sum(firsts) / (len(firsts) + FIRST_PRIOR), FIRST_VARIANCE
    for place, ratio in enumerate(own):
        if place:
            level, variance = level + drift, variance + STEP_VARIANCE
        gain = variance / (variance + NOISE_VARIANCE)
        level, variance = level + gain * (ratio - level), (1 - gain) * variance
    return level + DAMPING * drift * (behind if own else behind - 1)
