"""How long the rows of a reference are alike, and how many stretches of it are independent of each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.evaluation.counting import Sample
from tasks.evaluation.dependence import (
    Traces,
    memory_of,
)
from tasks.evaluation.pairs import (
    FULL_DAY,
    TINY,
    Pair,
    chunks_of,
    covered_by,
    is_numeric,
    padded,
    scores_of,
)

Array = npt.NDArray[np.float64]

MIN_STRETCHES = 20
"""Fewest stretches of the reference that are independent of each other, for a test to be honest."""
_INDEPENDENT = 1.3
_TOGETHER = {"rows": 300.0, "day": 30.0}
"""Units over which a column's own memory weighs as much as the table's: runs of rows are short, and days have seasons,
which some columns have and others not."""
_SHORT = 400
"""Fewer rows of a reference are judged if they are independent, or not at all."""
_CYCLE = 2.0


@dataclass(frozen=True)
class Stretches:
    """How many stretches of the reference are independent of each other, and what to say where they are too few."""

    number: float
    independent: bool
    """Whether rows are so, and not only stretches of them."""
    reason: str
    memory: float = 1.0
    """Units that count as one."""
    inflation: float = 1.0
    """How much more the mean of a unit varies than that of as many independent rows."""


def stretches_of(pair: Pair) -> dict[str, Stretches]:
    """Count the independent stretches of a reference, by column."""
    own = pair.own
    names = list(pair.columns)
    memory, inflation = _memory(pair, own, names)
    independent = memory * inflation <= _INDEPENDENT
    number = np.where(independent, own.size / (memory * inflation), len(own.rows) / memory)
    if own.unit == "rows" and pair.now.size > pair.before.size:  # it may show what the reference is too short to show
        length, times = _memory(pair, pair.now, names)
        number = np.minimum(number, own.size / np.maximum(length * times, 1.0))
    covered = covered_by(pair) if own.unit == "day" else 1.0
    found = {}
    for at, name in enumerate(names):
        reason = ""
        if covered < FULL_DAY and (own.tallies[name].cycle > _CYCLE or not independent[at]):
            number[at], reason = 0.0, "the window is shorter than a day, and hours of a day differ"
        elif number[at] < MIN_STRETCHES:
            many, what = (len(own.rows) * own.length, "days") if own.unit == "day" else (own.size, "rows")
            reason = (
                f"neighbouring rows are alike: the {many:,} {what} of the reference hold {number[at]:.0f} stretches "
                f"that are independent of each other, and {MIN_STRETCHES} are needed"
            )
        lasting = float(memory[at]), float(inflation[at])
        found[name] = Stretches(float(number[at]), bool(independent[at]), reason, *lasting)
    return found


def _memory(pair: Pair, sample: Sample, names: list[str]) -> tuple[Array, Array]:
    """Memory of columns in units, and how much more the mean of a unit varies than that of independent rows."""
    order, first, second, inflation = [], None, None, []
    for chunk in chunks_of(pair):
        columns = [pair.columns[name] for name in chunk]
        counts = padded(sample, chunk, max(column.bins for column in columns))
        rows = counts.sum(2)
        share = counts.sum(1) / np.maximum(rows.sum(1), 1)[:, None]
        numeric = is_numeric(columns[0])
        scores = (
            scores_of(share)[:, :2]
            if numeric
            else np.broadcast_to(np.eye(share.shape[1]), (*share.shape, share.shape[1]))
        )
        mean = np.einsum("ck,cjk->cj", share, scores)
        row = np.einsum("ck,cjk->cj", share, scores**2) - mean**2
        mean_rows = np.maximum(rows.mean(1), TINY)[:, None]
        sums = np.einsum("cuk,cjk->cju", counts, scores, optimize=True)
        deviations = (sums - rows[:, None] * mean[:, :, None]) / mean_rows[:, :, None]
        deviations[row <= TINY] = 0.0
        each = (deviations**2).mean(2)
        parts = (deviations[:, :1], deviations[:, 1:]) if numeric else (deviations, deviations)
        traces = [Traces.of(part) for part in parts]
        first = traces[0] if first is None else first + traces[0]
        second = traces[1] if second is None else second + traces[1]
        ratio = (each * mean_rows).max(1) if numeric else each.sum(1) * mean_rows[:, 0] / np.maximum(row.sum(1), TINY)
        inflation += list(np.where(row.sum(1) > TINY, np.maximum(ratio, 1.0), 1.0))
        order += chunk
    if first is None or second is None:
        return np.ones(0), np.ones(0)
    together = _TOGETHER[sample.unit]
    resolved, short = sample.unit == "day", sample.size < _SHORT
    memories = [memory_of(traces, together, resolved=resolved, short=short) for traces in (first, second)]
    memory = dict(zip(order, np.maximum(*memories), strict=True))
    times = dict(zip(order, inflation, strict=True))
    return np.array([memory[name] for name in names]), np.array([times[name] for name in names])
