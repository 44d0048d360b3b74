"""What a model reached on rows it had not seen, to the width that people ask for, everything with its interval.

Metrics, what became of each class, how far probabilities came true, curves, and residuals by range. It is kept in the
bundle as ``evaluation.json``, and in MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from expectations.metrics import Array, Scored, ratio
from tasks.evaluation.resampling import Bounded, Resamples

_RANGES = 10
_MAX_CLASSES = 30
_STEPS = 500
"""Steps of score that curves are drawn by."""
_GRID = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True)
class OfClass:
    """How rows of a class were called: `rows` of it, `called` so."""

    name: str
    rows: int
    called: int
    precision: Bounded
    recall: Bounded
    f1: Bounded


@dataclass(frozen=True)
class ScoreRange:
    """Rows whose probability or predicted value lies in a range, which holds as many as any other.

    Attributes
    ----------
    predicted : float
        The mean over them.
    observed : Bounded
        Share that came true, or the mean label.
    error : Bounded or None
        Of a regression the mean absolute error.
    """

    start: float
    end: float
    rows: int
    predicted: float
    observed: Bounded
    error: Bounded | None = None


@dataclass(frozen=True)
class Curve:
    """A curve over a grid, with a band."""

    x: tuple[float, ...]
    value: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Evaluation:
    """What a model reached on rows.

    Attributes
    ----------
    confusion : tuple of tuple of int
        Rows by class (down) and call (across), in the order of `of_classes`; empty of a regression.
    ranges : tuple of ScoreRange
        Calibration of a classifier (of several classes of the one that is called), residuals of a regression.
    curves : mapping of str to Curve
        `roc`, `precision_recall`, `lift` and `gain` of two classes; empty of others.
    """

    rows: int
    confidence: float
    metrics: Mapping[str, Bounded]
    of_classes: tuple[OfClass, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[ScoreRange, ...] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else is known of the version, by name."""


def evaluate(rows: Scored, metrics: Sequence[str], classes: Sequence[str], drawn: Resamples) -> Evaluation:
    """Evaluate predictions.

    Parameters
    ----------
    metrics : sequence of str
    classes : sequence of str
        In the order of the scores, of two the negative one first; none of a regression.
    drawn : Resamples
        Of the same rows.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = {name: drawn.bounded(drawn.metric(name, rows)) for name in metrics}
        if not classes:
            return Evaluation(len(rows.label), drawn.confidence, found, ranges=_residuals(rows, drawn))
        names = [*classes, *(["classes never seen"] if (rows.label >= len(classes)).any() else [])]
        of_classes, confusion = _of_classes(rows, names, drawn)
        curves = _curves(rows, drawn) if rows.prediction.ndim == 1 else {}
        return Evaluation(
            len(rows.label), drawn.confidence, found, of_classes, confusion, _calibration(rows, drawn), curves
        )


def _of_classes(
    rows: Scored, names: Sequence[str], drawn: Resamples
) -> tuple[tuple[OfClass, ...], tuple[tuple[int, ...], ...]]:
    width, true, called = len(names), rows.label.astype(np.int64), rows.called
    ones = np.ones(len(true))
    there, said = drawn.table(ones, true, width), drawn.table(ones, called, width)
    hits = drawn.table((true == called).astype(np.float64), true, width)
    precision, recall, f1 = ratio(hits, said), ratio(hits, there), ratio(2 * hits, there + said)
    order = np.argsort(-there[0], kind="stable")[:_MAX_CLASSES]
    order = np.sort(order)
    shown = tuple(
        OfClass(
            names[at],
            int(there[0, at]),
            int(said[0, at]),
            *(drawn.bounded(each[:, at]) for each in (precision, recall, f1)),
        )
        for at in order
    )
    table = np.zeros((width, width), dtype=np.int64)
    np.add.at(table, (true, called), 1)
    return shown, tuple(tuple(map(int, line)) for line in table[np.ix_(order, order)])


def _even(values: Array, number: int) -> tuple[npt.NDArray[np.int64], Array]:
    """Cut values into ranges with as many rows each; fewer where many values are the same.

    Returns
    -------
    places : ndarray of shape (n_rows,)
    edges : ndarray of shape (n_ranges + 1,)
    """
    edges = np.unique(np.quantile(values, np.linspace(0, 1, number + 1)))
    inner = edges[1:-1]
    return np.searchsorted(inner, values, side="right"), edges if len(edges) > 1 else np.repeat(edges, 2)


def _ranges(predicted: Array, true: Array, drawn: Resamples, error: Array | None = None) -> tuple[ScoreRange, ...]:
    known = np.isfinite(predicted) & np.isfinite(true)
    if not known.all():
        return ()
    places, edges = _even(predicted, _RANGES)
    width, ones = len(edges) - 1, np.ones(len(places))
    count = drawn.table(ones, places, width)
    observed = drawn.many(ratio(drawn.table(true, places, width), count))
    errors = drawn.many(ratio(drawn.table(error, places, width), count)) if error is not None else [None] * width
    means = ratio(drawn.table(predicted, places, width), count)[0]
    return tuple(
        ScoreRange(float(start), float(end), int(count[0, at]), float(means[at]), observed[at], errors[at])
        for at, (start, end) in enumerate(pairwise(edges))
        if count[0, at]
    )


def _calibration(rows: Scored, drawn: Resamples) -> tuple[ScoreRange, ...]:
    if rows.prediction.ndim == 1:
        return _ranges(rows.prediction, rows.label, drawn)
    return _ranges(rows.prediction.max(axis=1), (rows.called == rows.label).astype(np.float64), drawn)


def _residuals(rows: Scored, drawn: Resamples) -> tuple[ScoreRange, ...]:
    return _ranges(rows.prediction, rows.label, drawn, np.abs(rows.prediction - rows.label))


def _curves(rows: Scored, drawn: Resamples) -> dict[str, Curve]:
    """Draw curves over rows ranked by score, from the sums of rows and positive ones by step of score."""
    if not np.isfinite(rows.prediction).all() or len(np.unique(rows.label)) < 2:
        return {}
    places, edges = _even(-rows.prediction, _STEPS)
    width = len(edges) - 1
    hits = _cumulative(drawn.table((rows.label == 1).astype(np.float64), places, width))
    alarms = _cumulative(drawn.table((rows.label != 1).astype(np.float64), places, width))
    both = hits + alarms
    recall, false_rate, share = (ratio(each, each[:, -1:] + 0 * each) for each in (hits, alarms, both))
    precision = ratio(hits, both)
    precision[:, 0] = precision[:, 1]
    gain = _over(share, recall)
    lift_at = _GRID[1:]
    return {
        "roc": _banded(_GRID, _over(false_rate, recall), drawn),
        "precision_recall": _banded(_GRID, _over(recall, precision), drawn),
        "gain": _banded(_GRID, gain, drawn),
        "lift": _banded(lift_at, gain[:, 1:] / lift_at, drawn),
    }


def _cumulative(table: Array) -> Array:
    return np.pad(np.cumsum(table, axis=1), ((0, 0), (1, 0)))


def _over(x: Array, y: Array) -> Array:
    """Read curves, one a resample, at the grid, shape (1 + n_resamples, n_grid); NaN where one is not defined."""
    return np.array(
        [
            np.interp(_GRID, one, other) if np.isfinite(one).all() else np.full(len(_GRID), np.nan)
            for one, other in zip(x, y, strict=True)
        ]
    )


def _banded(grid: Array, draws: Array, drawn: Resamples) -> Curve:
    points = drawn.many(draws)
    return Curve(
        tuple(map(float, grid)),
        tuple(each.value for each in points),
        tuple(each.low for each in points),
        tuple(each.high for each in points),
    )
