"""How much history to learn from, chosen by trial: all of it, or the newest year, half year, quarter and so on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from expectations.durations import Duration
from expectations.errors import TrainingError
from expectations.usecase import UseCase
from tasks.evaluation.splits import hold_back
from tasks.stores.progress import part
from tasks.training.labelled import classes_of, labels, newest_of

EVERYTHING = "everything"
_SPANS = tuple(map(Duration.parse, ("10y", "5y", "2y", "1y", "6mo", "3mo", "1mo", "2w", "1w", "1d", "6h", "1h")))
_MAX_WINDOWS = 4
"""Spans that are tried beside everything, the longest that are shorter than the history by a quarter."""
_SHORTER = 0.75


@dataclass(frozen=True)
class WindowChoice:
    """Which span of the newest rows is learnt from, and what each that was tried reached.

    Attributes
    ----------
    last : Duration or None
        None where all rows are.
    metric : str
    tried : mapping of str to float
        Span -> the metric of the best candidate on the same newest rows; empty where nothing was tried.
    rows : mapping of str to int
        Span -> how many rows were learnt from.
    """

    last: Duration | None
    metric: str
    tried: Mapping[str, float]
    rows: Mapping[str, int]

    def of(self, frame: pl.DataFrame, spec: UseCase) -> pl.DataFrame:
        """Return the rows that are learnt from: those of the span, or more where the trial's say so.

        Rows may have become fewer since those that were tried: never fewer are learnt from than in the trial, as far
        as there are so many, and none of the classes of the frame is lost, nor all difference between labels.
        """
        if self.last is None:
            return frame
        found = _newest(frame, spec, self.last, self.rows.get(str(self.last), 0))
        if _can_teach(found, spec, classes_of(frame, spec)):
            return found
        ordered = frame.sort(spec.time_column, maintain_order=True)
        return ordered.tail(max(len(found), _reach(ordered, spec)))

    @property
    def words(self) -> str:
        """Say what was tried and chosen; nothing where nothing was."""
        if not self.tried:
            return ""
        found = ", ".join(f"{name} {value:.4f} of {self.rows[name]:,} rows" for name, value in self.tried.items())
        return f"window: {self.last or EVERYTHING}, by {self.metric} on the newest rows: {found}"


def choose_window(
    frame: pl.DataFrame, spec: UseCase, metric: str, score: Callable[[pl.DataFrame, pl.DataFrame], float]
) -> WindowChoice:
    """Learn from each span of the rows before the newest ones, and take that which says these best.

    The newest rows are those that choose among candidates (`model.validation`); the holdout is not among them. Among
    equals the longest span is taken. One is not tried that has too few rows to learn from, or lacks a class, among
    these rows or the newest of all.

    Parameters
    ----------
    frame : polars.DataFrame of shape (n_rows, any)
        Rows of the clean table that may be learnt from.
    score : callable
        Learns from its first rows, and returns the metric on its second; NaN where it cannot learn.
    """
    older, newest = hold_back(frame, spec, spec.model.validation)
    spans = _spans(older, frame, spec)
    if not spans or newest.is_empty():
        return WindowChoice(None, metric, {}, {})
    sign = 1.0 if spec.greater_is_better[metric] else -1.0
    tried, rows = dict[str, float](), dict[str, int]()
    best: tuple[float, Duration | None] = (-math.inf, None)
    for number, last in enumerate((None, *spans), 1):
        name, some = str(last or EVERYTHING), newest_of(older, spec, last)
        with part(f"window {number} of {len(spans) + 1}, {name}"):
            try:
                value = score(some, newest)
            except TrainingError:
                if last is None:
                    raise
                continue  # of few rows: the longer spans have what it lacks
        if math.isfinite(value):
            tried[name], rows[name] = value, len(some)
            best = max(best, (sign * value, last), key=lambda each: each[0])
    return WindowChoice(best[1], metric, tried, rows)


def _spans(older: pl.DataFrame, frame: pl.DataFrame, spec: UseCase) -> tuple[Duration, ...]:
    times = older[spec.time_column]
    length = (times.max() - times.min()).total_seconds() if len(older) else 0.0  # type: ignore[operator,union-attr]
    known, found = classes_of(older, spec), list[Duration]()
    for last in _SPANS:
        some = newest_of(older, spec, last)
        if last.approximate_seconds > _SHORTER * length or len(some) < 2 * spec.evaluation.min_rows:
            continue
        if all(_can_teach(each, spec, known) for each in (some, _newest(frame, spec, last, len(some)))):
            found.append(last)
    return tuple(found[:_MAX_WINDOWS])


def _newest(frame: pl.DataFrame, spec: UseCase, last: Duration, fewest: int) -> pl.DataFrame:
    """Return the rows of the span before the newest, or the newest `fewest` where these are more."""
    found = newest_of(frame, spec, last)
    return found if len(found) >= fewest else frame.sort(spec.time_column, maintain_order=True).tail(fewest)


def _can_teach(frame: pl.DataFrame, spec: UseCase, known: Sequence[str]) -> bool:
    return set(known) <= set(classes_of(frame, spec)) and frame[spec.label.column].n_unique() > 1


def _reach(ordered: pl.DataFrame, spec: UseCase) -> int:
    """Return how many of the newest rows, of rows in order of time, have each class, or two labels of a regression."""
    classes = classes_of(ordered, spec)
    codes = labels(ordered, spec, classes)
    first = [int(np.flatnonzero(codes == each)[-1]) for each in range(len(classes)) if (codes == each).any()]
    first += np.flatnonzero(codes != codes[-1])[-1:].tolist()
    return len(ordered) - min(first, default=0)
