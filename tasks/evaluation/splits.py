"""Which rows learn and which judge: forward in time, or, where rows have no time, drawn.

What is drawn is the same for the same rows and seed, has each class in its share, and keeps together the rows of one
group: those with the same value of the key that most values of repeat (the patient of a visit).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.durations import Duration
from expectations.usecase import UseCase

MIN_GROUPS = 20
"""Fewer values of a key make no groups: whole ones could not be drawn in any share."""


def cut_newest(frame: pl.DataFrame, clock: str, share: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cut rows into an older and a newest part of about `share`; rows of one instant stay together.

    Returns
    -------
    older, newest : polars.DataFrame
        A partition of the rows, in time order; every instant of `newest` is later than every one of `older`.
    """
    if frame.is_empty():
        return frame, frame
    frame = frame.sort(clock, maintain_order=True)
    border: datetime = frame[clock][min(int(len(frame) * (1 - share)), len(frame) - 1)]
    return frame.filter(pl.col(clock) < border), frame.filter(pl.col(clock) >= border)


def rolling_origin(n_rows: int, folds: int) -> Iterator[tuple[slice, slice]]:
    """Yield (train, test) of a cross-validation that never looks ahead.

    The rows, in time order, are cut into `folds` + 1 equal runs; each run but the first is tested once, on a model
    of everything before it.
    """
    borders = [n_rows * index // (folds + 1) for index in range(folds + 2)]
    for start, end in pairwise(borders[1:]):
        yield slice(0, start), slice(start, end)


def hold_back(frame: pl.DataFrame, spec: UseCase, share: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cut rows into those that learn and those, about `share` of them, that judge; both in order of time.

    The newest judge; without a clock those that are drawn.
    """
    if spec.timed:
        return cut_newest(frame, spec.time_column, share)
    frame = frame.sort(spec.time_column, maintain_order=True)
    units, strata = units_of(frame, spec)
    sizes = np.bincount(units)
    drawn = np.zeros(len(sizes), dtype=np.bool_)
    for own in _shuffled(strata, spec.model.seed):
        before = np.cumsum(sizes[own]) - sizes[own] / 2
        drawn[own] = before < share * sizes[own].sum()
    held = pl.Series(drawn[units])
    return frame.filter(~held), frame.filter(held)


def fold_masks(
    frame: pl.DataFrame, spec: UseCase, folds: int, gap: Duration | None = None
) -> Iterator[tuple[pl.Series, pl.Series]]:
    """Yield which rows learn and which are tested: by rolling origin, without a clock by folds that are drawn.

    Parameters
    ----------
    gap : Duration, optional
        By rolling origin, how long before a test the rows end that learn; at least as long as a label takes.
    """
    if spec.timed:
        times, places = frame[spec.time_column], pl.Series(np.arange(len(frame)))
        for train, test in rolling_origin(len(frame), folds):
            if test.start == test.stop:
                continue
            start: datetime = times[test].min()  # type: ignore[assignment] # an instant column
            delays = [spec.label_delay] + ([gap] if gap is not None else [])
            known = min(each.after(start, -1) for each in delays)
            yield (
                (places < train.stop) & (times <= known) & (times < start),
                (places >= test.start) & (places < test.stop),
            )
        return
    units, strata = units_of(frame, spec)
    fold = np.zeros(len(strata), dtype=np.int64)
    for own in _shuffled(strata, spec.model.seed):
        fold[own] = np.arange(len(own)) % folds
    for number in range(folds):
        test_rows = pl.Series(fold[units] == number)
        yield ~test_rows, test_rows


def units_of(
    frame: pl.DataFrame, spec: UseCase, least: int = MIN_GROUPS
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the unit of each row (itself, or its group), and the class of each unit (that of its first row).

    Parameters
    ----------
    least : int
        Fewer values of a key make no groups.
    """
    units = np.arange(len(frame))
    counts = {key: frame[key].n_unique() for key in spec.keys} if len(spec.keys) > 1 else {}
    shared = {key: count for key, count in counts.items() if least <= count < len(frame)}
    if shared:
        group = frame[max(shared, key=lambda key: shared[key])]
        units = (group.rank("dense") - 1).to_numpy().astype(np.int64)
    strata = np.zeros(int(units.max(initial=-1)) + 1, dtype=np.int64)
    if spec.problem.classifies:
        strata[units[::-1]] = frame[spec.label.column].rank("dense").to_numpy().astype(np.int64)[::-1]
    return units, strata


def _shuffled(strata: npt.NDArray[np.int64], seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the units of each class in an order that is drawn."""
    order = np.random.default_rng(seed).permutation(len(strata))
    for each in np.unique(strata):
        yield order[strata[order] == each]
