"""One budget of errors for the life of a use case: how surely each challenger must beat the champion.

A gate that is right in 95 cases of 100 lets a worse model pass sooner or later if it is asked each week. Here the
chance that it *ever* does is bounded. The k-th comparison is tested at the level

    level_k = budget × share_k + (level_{k-1} if the comparison before was won, else 0),

with shares that fall as k^-1.2 and sum to one over an endless life: online fallback (Tian and Ramdas 2021, Statistical
Methods in Medical Research 30), whose error over all comparisons is at most the budget however they depend on each
other. A release costs nothing of what the next may spend; each challenger that fails does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from expectations.gates import Interval
from expectations.metrics import Array

_FALL = 1.2
_SUM = 5.591582441177714
"""Riemann's zeta function of 1.2: the sum of k^-1.2 over all k."""


@dataclass(frozen=True)
class BudgetTest:
    """One comparison of a challenger with the champion.

    Attributes
    ----------
    number : int
        1 for the first in the life of the use case.
    level : float
        Chance with which a challenger that is worse may pass.
    budget : float
        Of the whole life.
    won : bool, optional
        Whether every gate that compares with the champion passed; None before it was tested.
    """

    number: int
    level: float
    budget: float
    won: bool | None = None

    def tested(self, *, won: bool) -> BudgetTest:
        """Return the same with its result."""
        return replace(self, won=won)

    def __str__(self) -> str:
        return f"comparison {self.number} of a budget of {self.budget:.3g}, at a level of {self.level:.2g}"


def next_test(budget: float, last: BudgetTest | None) -> BudgetTest:
    """Return the comparison that follows the `last` one, which was tested; the first one where there is none.

    A budget that was changed since holds for what comes; what a comparison inherits is at most the whole of it.
    """
    number, inherited = 1, 0.0
    if last is not None:
        number, inherited = last.number + 1, last.level if last.won else 0.0
    return BudgetTest(number, min(budget * share(number) + inherited, budget), budget)


def share(number: int) -> float:
    """Return the share of the budget that the comparison of a number has of its own."""
    return float(number**-_FALL / _SUM)


def interval_at(gain: Array, level: float, n_blocks: int) -> Interval:
    """Return a gain with its bounds, each of which it misses with the chance `level`.

    Resamples say little about chances of one in thousands, so the bounds are those of Student's t with as many degrees
    of freedom as there are blocks, less one.

    Parameters
    ----------
    gain : ndarray of shape (1 + n_resamples,)
        Over all rows, then over each resample of the blocks. Where one is NaN there are no bounds.
    """
    from scipy.special import stdtrit

    drawn, freedom = gain[1:], max(n_blocks - 1, 1)
    deviation = float(drawn.std(ddof=1)) * math.sqrt(n_blocks / freedom)
    reach = -float(stdtrit(freedom, level)) * deviation
    if not math.isfinite(reach):
        return Interval(float(gain[0]), -math.inf, math.inf)
    return Interval(float(gain[0]), float(gain[0] - reach), float(gain[0] + reach))
