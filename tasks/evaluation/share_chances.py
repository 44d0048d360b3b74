"""How likely differences of scores and shares are by chance, where days have storms and rare values few counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from expectations.metrics import Array
from tasks.evaluation.dependence import (
    chance_of,
    chance_of_counts,
)
from tasks.evaluation.pairs import (
    TINY,
    Pair,
    Series,
    lengths_of,
)

_FEW_UNITS = 4
_FEW_DRAWS = 30.0
_RARE = 10.0
_FEW_CLUSTERS = 10


def tempered(found: Series, pair: Pair) -> Array:
    """Shrink differences of a window of few units, where units of the reference lie further out than a t has them.

    A day is one draw, and days have storms: the t's tail is then calibrated by the reference's most extreme unit.
    """
    spread = found.spread
    units = found.deviations[0]
    count = units.shape[1]
    if spread is None or lengths_of(pair)[1] >= _FEW_UNITS or count < _FEW_UNITS:
        return found.difference
    own = (spread.weight * found.variances[1]).sum(1)
    few = 1 / np.maximum(own, TINY) * np.maximum(found.row, TINY) < _FEW_DRAWS
    scale = np.sqrt(np.maximum((units**2).sum(1) / (count - 1), TINY))
    furthest = np.abs(units).max(1) / scale
    expected = stdtrit(spread.freedom, 1 - 0.5 / (count + 1))
    return np.where(few, found.difference / np.maximum(furthest / expected, 1.0), found.difference)


def chance_of_shares(
    found: Series, sums: tuple[Array, Array], pair: Pair, dependent: npt.NDArray[np.bool_] | None = None
) -> Array:
    """Chance of a difference of shares; of rare ones by their counts, as no t has their tail."""
    seen, before = sums[1].sum(1), sums[0].sum(1)
    rows = found.rows[1] + found.rows[0]
    pooled = (seen + before) / np.maximum(rows, 1)
    plain = pooled * (1 - pooled) * (1 / np.maximum(found.rows[0], 1) + 1 / np.maximum(found.rows[1], 1))
    if found.spread is None:
        clustered = np.ones(len(plain))
        by_t = np.ones(len(plain))
    else:
        variance = np.maximum(found.variances[0] + found.variances[1], plain[:, None])
        clustered = np.maximum((found.spread.weight * variance).sum(1) / np.maximum(plain, TINY), 1.0)
        by_t = chance_of(tempered(found, pair), variance, found.spread)
    if dependent is not None:  # what came in few stretches of the reference does not show how many rows come together
        units = [(each > 0).sum(1) for each in sums]
        clusters = np.where(dependent & (units[0] < _FEW_CLUSTERS), seen / np.maximum(units[1], 1), 1.0)
        clustered = np.maximum(clustered, clusters)
    # of what is the rarer: it, or its absence
    flip = pooled > 0.5
    seen = np.where(flip, found.rows[1] - seen, seen)
    before = np.where(flip, found.rows[0] - before, before)
    by_counts = chance_of_counts(
        seen / clustered, found.rows[1] / clustered, before / clustered, found.rows[0] / clustered
    )
    least = (seen + before) / clustered * np.minimum(*found.rows) / np.maximum(rows, 1)
    return np.where(least < _RARE, by_counts, by_t)
