"""Whether a model of two classes treats declared groups alike.

Measures as in fairlearn: the largest difference between groups in the share that is called positive (demographic
parity), in the share of positive rows that is (equal opportunity, Hardt et al. 2016), and the larger of that and the
largest difference in the share of negative rows that is (equalised odds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import polars as pl

from expectations.metrics import Array, Scored, ratio
from tasks.evaluation.resampling import Bounded, Resamples

MEASURES = ("demographic_parity", "equal_opportunity", "equalised_odds")
_MISSING = "missing"


@dataclass(frozen=True)
class Group:
    """What became of the rows of a group.

    Attributes
    ----------
    selected : Bounded
        Share that is called positive.
    true_positive, false_positive : Bounded
        Share of its positive, and of its negative rows, that is.
    """

    name: str
    rows: int
    selected: Bounded
    true_positive: Bounded
    false_positive: Bounded


@dataclass(frozen=True)
class GroupDisparity:
    """How far the groups of a column are treated apart.

    Attributes
    ----------
    measures : mapping of str to Bounded
        `demographic_parity`, `equal_opportunity`, `equalised_odds`: differences from 0 to 1. Not defined where there
        is one group, or one has no such rows.
    too_small : tuple of str
        Groups with too few rows to be compared.
    """

    column: str
    groups: tuple[Group, ...]
    measures: Mapping[str, Bounded]
    too_small: tuple[str, ...] = ()


def measure_fairness(groups: pl.Series, rows: Scored, drawn: Resamples, least: int) -> GroupDisparity:
    """Hold the groups of a column against each other.

    The upper bound is a percentile over resamples of blocks of time. Noise alone makes a largest difference large, in
    each resample too, so the lower bound comes from the differences of single pairs, which may fall on either side of
    zero: the largest lower end of all pairs, at a confidence for them together (Bonferroni).

    Parameters
    ----------
    groups : polars.Series of shape (n_rows,)
    rows : Scored
        Of two classes.
    least : int
        Fewest rows of a group that is compared.
    """
    names = groups.cast(pl.String).fill_null(_MISSING)
    counts = names.value_counts().sort(names.name)
    kept = counts.filter(pl.col("count") >= least)[names.name].to_list()
    small = counts.filter(pl.col("count") < least)[names.name].to_list()
    called = (rows.prediction >= rows.threshold).astype(np.float64)
    positive, ones = rows.label == 1, np.ones(len(called))
    found, shares = [], {"selected": [], "true": [], "false": []}  # type: ignore[var-annotated]
    for name in kept:
        mine = (names == name).to_numpy()
        within = {"selected": mine, "true": mine & positive, "false": mine & ~positive}
        draws = {what: ratio(drawn.total(called, mask), drawn.total(ones, mask)) for what, mask in within.items()}
        for what, each in draws.items():
            shares[what].append(each)
        found.append(Group(name, int(mine.sum()), *(drawn.bounded(each) for each in draws.values())))
    if len(kept) < 2:
        return GroupDisparity(groups.name, tuple(found), {}, tuple(small))
    gaps = {what: _gap(np.array(each)) for what, each in shares.items()}
    measures = {
        "demographic_parity": gaps["selected"],
        "equal_opportunity": gaps["true"],
        "equalised_odds": np.maximum(gaps["true"], gaps["false"]),
    }
    lows = {
        "demographic_parity": _low(shares["selected"], drawn),
        "equal_opportunity": _low(shares["true"], drawn),
        "equalised_odds": max(_low(shares[what], drawn, looks=2) for what in ("true", "false")),
    }
    bounded = {name: _with_low(drawn.bounded(draws), lows[name]) for name, draws in measures.items()}
    return GroupDisparity(groups.name, tuple(found), bounded, tuple(small))


def _gap(shares: Array) -> Array:
    """Return the largest difference between groups, shape (1 + n_resamples,), of their shares a row."""
    return np.asarray(shares.max(axis=0) - shares.min(axis=0))


def _low(shares: Sequence[Array], drawn: Resamples, looks: int = 1) -> float:
    """Return what the largest difference between groups is at least, from 0 on, whatever noise adds.

    Parameters
    ----------
    shares : sequence of ndarray of shape (1 + n_resamples,)
    looks : int
        How many kinds of shares are looked at together.
    """
    confidence = 1 - (1 - drawn.confidence) / (looks * len(shares) * (len(shares) - 1))
    apart = (one - other if one[0] > other[0] else other - one for one, other in combinations(shares, 2))
    lows = [drawn.bounded(each, confidence).low for each in apart]
    return max([0.0, *(low for low in lows if np.isfinite(low))])


def _with_low(bounded: Bounded, low: float) -> Bounded:
    """Put the lower bound in; a difference that is not defined, or has no bounds, keeps none."""
    return replace(bounded, low=low) if np.isfinite(bounded.low) else bounded
