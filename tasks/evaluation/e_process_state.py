"""What streams carry from look to look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expectations.metrics import Array
from tasks.evaluation.cadences import Counts, Rules

BINS = 512
_RIDGE = 10.0
QUEUE = 7
"""Blocks that the margin lags behind, so that a change does not widen the margin it has to cross."""


@dataclass
class State:
    """All that many streams carry from look to look; the last axis is the streams. Plain numbers, so it can be stored.

    `recent` and `means` hold the value, the look before and the moving average (`means` for each place in the season);
    `fit` the inverse information of recursive least squares (three numbers) and its two weights; `below[b]` counts the
    residuals in bins before the b-th; rows of `sums`, `queue`, `excess` and `margin` are the scores by deviation and by
    rank; `calm` is the running mean and mean square of the latter. `odds`, `since` and `track` (the evidence since a
    change most likely began, what it moved, and its looks) are by size.
    """

    counts: Counts
    means: Array
    recent: Array
    fit: Array
    below: Counts
    squares: Array
    judged: int
    sums: Array
    queue: Array
    waiting: int
    excess: Array
    blocks: int
    margin: Array
    calm: Array
    base: Array
    known: int
    total: Array
    odds: Array
    since: Array
    track: Array
    looked: int
    index: int


def fresh_state(rules: Rules, season: int, streams: int) -> State:
    """Return what streams carry that were never looked at."""
    cadence, zeros = rules.cadence, np.zeros
    sizes = (len(cadence.slow) + len(cadence.fast)) * (2 if rules.two_sided else 1)
    fit, calm = zeros((5, streams)), zeros((2, streams))
    fit[[0, 2]], calm[1] = 1 / _RIDGE, 1.0
    return State(
        counts=zeros(season, dtype=np.int64),
        means=zeros((season, 3, streams)),
        recent=zeros((3, streams)),
        fit=fit,
        below=zeros((streams, BINS + 1), dtype=np.int64),
        squares=np.ones(streams),
        judged=0,
        sums=zeros((2, streams)),
        queue=zeros((QUEUE, 2, streams)),
        waiting=0,
        excess=zeros((2, streams)),
        blocks=0,
        margin=np.ones((2, streams)),
        calm=calm,
        base=zeros((season, streams)),
        known=0,
        total=zeros(streams),
        odds=zeros((sizes, streams)),
        since=zeros((sizes, streams)),
        track=zeros((3, sizes, streams)),
        looked=0,
        index=-2,
    )
