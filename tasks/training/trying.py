"""Trials: a fresh challenger against the champion, on the newest rows of a window that neither had seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import polars as pl

from expectations.deciding import Back
from expectations.errors import SourceError, TrainingError
from expectations.usecase import UseCase
from expectations.windows import Count, Window
from tasks.bundles.bundle import Bundle
from tasks.deciding.gaps import growth
from tasks.evaluation.gaps import gap_of, log_loss_of
from tasks.evaluation.interval import in_time, time_blocks
from tasks.evaluation.metrics import Scored, score
from tasks.training.first_model import challenging
from tasks.training.labelled import classes_of, labels, learnt_by, score_rows, training_window
from tasks.training.learning import Incumbent, fit_chosen
from tasks.training.twins import fit_twin

NEWEST = 3
"""Tenths of a window's blocks of time that are tried on: the newest."""
_MIN_BLOCKS = 4
"""Blocks of `evaluation.block` a window must have; with fewer it is cut into runs of equal rows."""
_MIN_ROWS, _MIN_OF_CLASS = 15, 5


@dataclass(frozen=True)
class Tried:
    """What a trial found.

    Attributes
    ----------
    gap, variance : float
        As for `expectations.deciding.Trial`.
    grown : float
        As for `expectations.deciding.Trial`.
    rows : int
        Rows it was judged on.
    start : datetime or None
        Event time of the first of them; None without a clock.
    champion, challenger : float
        The metric of either on these rows (of their twins, where these were tried).
    """

    gap: float
    variance: float
    grown: float
    rows: int
    start: datetime | None
    metric: str
    champion: float
    challenger: float
    kind: Literal["recipe", "twin"]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return {**asdict(self), "start": self.start.isoformat() if self.start else None}

    def __str__(self) -> str:
        twins = " (small twins of both)" if self.kind == "twin" else ""
        since = f" since {self.start:%Y-%m-%d %H:%M}" if self.start else ", the newest,"
        return (
            f"a fresh model's {self.metric} is {self.challenger:.4f}, the champion's {self.champion:.4f}{twins}, on "
            f"{self.rows} rows{since} that neither had seen"
        )


def rows_of(rows: pl.DataFrame, spec: UseCase, window: Window) -> pl.DataFrame:
    """Return the rows of a window in order of time.

    Without a clock, where a row of the sources comes after it was asked about, they are those that came since the
    window began, the newest of them, as many as a window has.
    """
    clock = pl.col(spec.time_column)
    until = clock < window.end if spec.timed else pl.lit(value=True)
    inside = rows.filter((clock >= window.start) & until).sort(spec.time_column, maintain_order=True)
    counted = spec.windows
    return inside.tail(counted.rows) if not spec.timed and isinstance(counted, Count) else inside


def tried_rows(rows: pl.DataFrame, spec: UseCase, window: Window) -> pl.DataFrame | None:
    """Return the newest rows of a window, whole blocks of time; None where they are too few to judge by."""
    clock = spec.time_column
    inside = rows_of(rows, spec, window)
    if len(inside) < _MIN_ROWS:
        return None
    seconds, block = in_time(inside[clock], spec)
    blocks = np.unique(np.floor_divide(seconds, block), return_inverse=True)[1]
    if blocks.max() + 1 < _MIN_BLOCKS:
        blocks = time_blocks(seconds, block)
    first = int(np.flatnonzero(blocks >= (10 - NEWEST) * (blocks.max() + 1) // 10)[0])
    newest = inside.filter(pl.col(clock) >= inside[clock][first])
    if len(newest) < _MIN_ROWS:
        return None
    classes = classes_of(newest, spec)
    return None if spec.problem.lacks(labels(newest, spec, classes), _MIN_OF_CLASS) else newest


def known_before(rows: pl.DataFrame, spec: UseCase, start: datetime) -> pl.DataFrame:
    """Rows whose label was ripe when tried rows begin, within the declared training window."""
    ripe = spec.label_delay.after(start, -1)
    clock = pl.col(spec.time_column)
    return training_window(rows.filter((clock <= ripe) & (clock < start)), spec)


def try_challenger(
    rows: pl.DataFrame,
    spec: UseCase,
    window: Window,
    champion: Incumbent,
    asked: Literal["auto", "recipe", "twin"],
    report: Callable[[str], None] = lambda _: None,
) -> Tried | None:
    """Fit a challenger on what was known before the newest rows of a window, and score both on these.

    Parameters
    ----------
    rows : polars.DataFrame of shape (n_rows, any)
        Ripe labelled rows of the clean table, in time order.
    report : callable
        Called with why nothing can be learnt, where that is so.

    Returns
    -------
    Tried or None
        None where there is too little to judge by or to learn from, nothing can be learnt from it, a loss has
        no logarithm, or the champion needs a column that the use case has no more.
    """
    try:
        return _try_challenger(rows, spec, window, champion, asked)
    except (TrainingError, SourceError) as error:
        # also where code that it learns by is not trusted: the same would come of it again; it is written down, and
        # deciding goes on
        report(str(error))
        return None


def _try_challenger(
    rows: pl.DataFrame,
    spec: UseCase,
    window: Window,
    champion: Incumbent,
    asked: Literal["auto", "recipe", "twin"],
) -> Tried | None:
    newest = tried_rows(rows, spec, window)
    if newest is None:
        return None
    clock, metric = spec.time_column, spec.monitoring.performance[0].metric
    start: datetime = newest[clock].min()  # type: ignore[assignment] # an instant column
    before = known_before(rows, spec, start)
    if champion.cutoff >= start or len(before) < _MIN_ROWS or before[spec.label.column].n_unique() < 2:
        return None
    settled = challenging(champion, spec)
    # a twin has no calibration: it does not stand for a champion whose calibration has learnt since
    kept = isinstance(champion, Bundle) and bool(champion.manifest.recalibrated_from)
    twin = not kept and (asked == "twin" or (asked == "auto" and settled.dear))
    if not twin and not _can_answer(champion, rows):
        return None
    challenger = fit_twin(before, spec, choose=True) if twin else fit_chosen(before, spec, settled)
    old = fit_twin(learnt_by(champion, rows, spec), spec) if twin else champion
    fresh, incumbent = (
        score_rows(newest, spec, challenger.classes, each.predict(newest, repaired=True), each.classes)
        for each in (challenger, old)
    )
    gap, variance = _gap(metric, incumbent, fresh, newest[clock], spec)
    if not (math.isfinite(gap) and math.isfinite(variance)):
        return None
    ripe = spec.label_delay.after(start, -1)
    new = rows.select(((pl.col(clock) > champion.learnt_until) & (pl.col(clock) <= ripe)).sum()).item()
    return Tried(
        gap,
        variance,
        growth(champion.learnt_rows, new),
        len(newest),
        start if spec.timed else None,
        metric,
        score(metric, incumbent),
        score(metric, fresh),
        "twin" if twin else "recipe",
    )


def _can_answer(model: Incumbent, rows: pl.DataFrame) -> bool:
    return set(model.inputs) <= set(rows.columns)


def hold_against_predecessor(
    rows: pl.DataFrame, spec: UseCase, window: Window, champion: Incumbent, predecessor: Incumbent
) -> Back | None:
    """Return how much better the champion before is on all rows of a window that neither had seen.

    None where there are too few, a loss has no logarithm, or either needs a column that the use case has no more.
    """
    clock = spec.time_column
    inside = rows_of(rows, spec, window).filter(pl.col(clock) > max(champion.cutoff, predecessor.cutoff))
    if len(inside) < _MIN_ROWS or not (_can_answer(champion, rows) and _can_answer(predecessor, rows)):
        return None
    now, before = (
        score_rows(inside, spec, champion.classes, each.predict(inside, repaired=True), each.classes)
        for each in (champion, predecessor)
    )
    gap, variance = _gap(spec.monitoring.performance[0].metric, now, before, inside[clock], spec)
    return Back(gap, variance, len(inside)) if math.isfinite(gap) and math.isfinite(variance) else None


def _gap(metric: str, old: Scored, fresh: Scored, times: pl.Series, spec: UseCase) -> tuple[float, float]:
    """Return gap and variance; of blocks of time and runs of equal rows those count that are the less certain."""
    seconds, block = in_time(times, spec)
    days = np.unique(np.floor_divide(seconds, block), return_inverse=True)[1]
    found = [
        gap_of(log_loss_of(metric, old, blocks), log_loss_of(metric, fresh, blocks))
        for blocks in (days.astype(np.int64), time_blocks(seconds, math.inf))
    ]
    return found[0][0], max(variance for _, variance in found)
