"""What a fresh model would gain: trials, filtered over a champion's life.

The gap between champion and challenger is a random walk with a drift that grows with the rows the champion has not
learnt from; each trial sees it with noise. A Kalman filter (Kalman 1960; Harvey 1989, chapter 3) follows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from expectations.deciding import History, SeenWindow, Trial

STEP = 0.1
"""Standard deviation of the gap's own steps, a window."""
NOISE = 0.1
"""Least standard deviation of a trial, beside that of its blocks: a few days are never a whole window."""
HALF_LIFE = 12.0
"""Windows after which a trial says half as much of how gaps grow."""
PRIOR = 0.3
"""Gap per logarithmic growth of the rows before any trial; it weighs as one trial without variance at a growth of 1."""
TRIED = 0.7
"""Where in a window the tried rows begin, for what the gap does until then."""
ROLLBACK_WINDOWS, ROLLBACK_MIN, ROLLBACK_SPREADS, ROLLBACK_NOISE = 2, 0.02, 2.0, 0.03
"""A release is taken back in its first two windows if the one before is better by two per cent and two deviations."""
ALERT_TRIALS, ALERT_MIN, ALERT_ODDS, ALERT_SPREAD = 3, 0.02, 100.0, 0.05


@dataclass(frozen=True)
class Forecast:
    """What the trials of a champion come to.

    Attributes
    ----------
    gap : float
        Relative loss that a fresh model would save in the coming window.
    deviation : float
        Of the gap as filtered.
    cost : float
        What the champion has cost so far, in windows of relative loss.
    age : int
        Windows it has answered.
    growth : float
        Gap per logarithmic growth of the rows.
    """

    gap: float
    deviation: float
    cost: float
    age: int
    growth: float


def growth(learnt: int, new: int) -> float:
    """Return how far rows have grown beyond those learnt from: ln(1 + new / learnt)."""
    return math.log1p(new / max(learnt, 1))


def forecast(history: History) -> Forecast:
    """Filter the trials of the current champion; those of champions before it say how gaps grow.

    A window without a trial moves the gap on and leaves it less certain; one whose performance is not known does
    neither, and does not count as age.
    """
    windows = [seen for seen in history.windows if seen.status != "unknown"]
    if not windows:
        raise ValueError("a forecast needs a window whose performance is known")
    growth = _growth((*history.past, *(seen.trial for seen in windows if seen.trial)), windows[-1].number)
    gap = variance = cost = at = 0.0
    for position, seen in enumerate(windows):
        if position:
            gap += growth * (seen.grown - at)
        at = seen.grown
        variance += (1 - TRIED) * STEP**2
        cost += gap
        if seen.trial is None:
            variance += TRIED * STEP**2
            continue
        gap += growth * (seen.trial.grown - at)
        at = seen.trial.grown
        variance += TRIED * STEP**2
        weight = variance / (variance + seen.trial.variance + NOISE**2)
        gap += weight * (seen.trial.gap - gap)
        variance *= 1 - weight
    older = history.older
    cost *= (older + len(windows)) / len(windows)  # those that are not looked at any more cost what these do
    return Forecast(gap + growth * (history.grown - at), math.sqrt(variance), cost, older + len(windows), growth)


def _growth(trials: tuple[Trial, ...], newest: int) -> float:
    """Gap per logarithmic growth: least squares through the origin over all trials, the old ones counting less."""
    weighted, total = PRIOR, 1.0
    for trial in trials:
        if trial.grown <= 0:
            continue
        weight = 0.5 ** ((newest - trial.number) / HALF_LIFE) * trial.grown**2 * NOISE**2 / (trial.variance + NOISE**2)
        weighted += weight * trial.gap / trial.grown
        total += weight
    return max(0.0, weighted / total)


def worse_than_before(windows: Sequence[SeenWindow]) -> float | None:
    """Return by how much a champion's predecessor is better in its first windows, where that is beyond doubt."""
    held = [each.back for each in windows if each.back is not None][:ROLLBACK_WINDOWS]
    if not held or held[-1] is not windows[-1].back:
        return None
    better = sum(each.gap for each in held)
    spread = math.sqrt(sum(each.variance + ROLLBACK_NOISE**2 for each in held))
    mean = better / len(held)
    return mean if mean > ROLLBACK_MIN and better > ROLLBACK_SPREADS * spread else None


def loss_is_certain(trials: list[Trial]) -> bool:
    """Whether the newest trials say beyond doubt that a fresh model is better by more than two per cent.

    The bound of a normal mixture at odds of 100 to 1 (Robbins 1970; Howard et al. 2021): over a sliding three trials it
    is not valid at every time, and says what it said on the histories it was tried on.
    """
    newest = trials[-ALERT_TRIALS:]
    if not newest:
        return False
    excess = sum(trial.gap - ALERT_MIN for trial in newest)
    spread = sum(trial.variance + ALERT_MIN**2 for trial in newest)
    mixed = spread + ALERT_SPREAD**2
    return excess > math.sqrt(mixed * (math.log(mixed / ALERT_SPREAD**2) + 2 * math.log(ALERT_ODDS)))
