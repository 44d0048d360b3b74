"""Which rows learn and which judge; always forward in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

import polars as pl


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
