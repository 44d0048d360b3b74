"""What a model answers along one input: partial dependence, and accumulated local effects.

Partial dependence (Friedman 2001) is the mean answer where every row has the same value of the input. Where inputs
depend on each other that asks about rows that never were; accumulated local effects (Apley and Zhu 2020) add up what
the answer changes by within narrow ranges, of the rows that lie in them, and are centred so that their mean over the
rows is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.metrics import Array
from tasks.evaluation.resampling import Bounded, Resamples

RANGES = 20
MAX_VALUES = 12
"""Most frequent values of a text that are looked at."""
Predict = Callable[[pl.DataFrame], Array]


@dataclass(frozen=True)
class EffectPoint:
    """What is answered at a value of an input.

    Attributes
    ----------
    value : number, str or bool
    dependence : Bounded
        The mean answer where all rows have it.
    accumulated : Bounded or None
        The accumulated local effect; None of an input without an order.
    """

    value: Any
    dependence: Bounded
    accumulated: Bounded | None = None


@dataclass(frozen=True)
class Effect:
    """The effect of an input on one output: a class's probability, or the predicted number."""

    input: str
    output: str
    points: tuple[EffectPoint, ...]


def effects_of(
    predict: Predict, rows: pl.DataFrame, column: str, outputs: Sequence[str], drawn: Resamples
) -> list[Effect]:
    """Return the effect of an input on each output; empty where it has fewer than two values.

    Parameters
    ----------
    predict : callable
        Answers rows, of shape (n_rows, n_outputs).
    rows : polars.DataFrame of shape (n_rows, any)
    outputs : sequence of str of length n_outputs
    drawn : Resamples
        Of these rows.
    """
    known = rows[column].drop_nulls()
    ordered = rows.schema[column].is_numeric()
    values = _edges(known) if ordered else _frequent(known)
    if len(values) < 2:
        return []
    answers = np.stack(
        [predict(rows.with_columns(pl.lit(each, dtype=rows.schema[column]).alias(column))) for each in values]
    )
    counts = drawn.total(np.ones(len(rows)))
    found = []
    for place, output in enumerate(outputs):
        of_one = answers[:, :, place]
        dependence = [drawn.bounded(drawn.total(each) / counts) for each in of_one]
        accumulated: list[Bounded] | list[None] = [None] * len(values)
        if ordered:
            accumulated = drawn.many(_accumulated(of_one, rows[column], values, drawn))
        points = zip(values.to_list(), dependence, accumulated, strict=True)
        found.append(Effect(column, output, tuple(EffectPoint(*each) for each in points)))
    return found


def _edges(known: pl.Series) -> pl.Series:
    """Return values between which equally many rows lie; of few different ones, all."""
    known = known.filter(known.is_finite()) if known.dtype.is_float() else known
    if known.n_unique() <= RANGES + 1:
        return known.unique().sort()
    shares = np.linspace(0, 1, RANGES + 1)
    ordered = known.sort()
    places = np.round(shares * (len(ordered) - 1)).astype(np.int64) if len(ordered) else np.empty(0, dtype=np.int64)
    return ordered.gather(places).unique(maintain_order=True)


def _frequent(known: pl.Series) -> pl.Series:
    counted = known.alias("value").value_counts().sort("count", "value", descending=[True, False])
    return counted["value"].head(MAX_VALUES)


def _accumulated(answers: Array, given: pl.Series, values: pl.Series, drawn: Resamples) -> Array:
    """Return accumulated local effects at each value, over all rows and each resample.

    Parameters
    ----------
    answers : ndarray of shape (n_values, n_rows)

    Returns
    -------
    ndarray of shape (1 + n_resamples, n_values)
        NaN of a resample that holds no row with a value.
    """
    held = given.to_numpy().astype(np.float64)
    edges = values.to_numpy().astype(np.float64)
    inside = np.isfinite(held)
    n_ranges = len(edges) - 1
    within: npt.NDArray[np.int64] = np.clip(
        np.searchsorted(edges, np.where(inside, held, edges[0]), "left") - 1, 0, n_ranges - 1
    ).astype(np.int64)
    at = np.arange(answers.shape[1])
    steps = np.where(inside, answers[within + 1, at] - answers[within, at], 0.0)
    rows = drawn.table(inside.astype(np.float64), within, n_ranges)
    total = drawn.table(steps, within, n_ranges)
    mean = np.divide(total, rows, where=rows > 0, out=np.zeros_like(total))
    reached = np.concatenate([np.zeros((len(mean), 1)), np.cumsum(mean, axis=1)], axis=1)
    middle = (reached[:, 1:] + reached[:, :-1]) / 2
    counts, total = rows.sum(axis=1, keepdims=True), (middle * rows).sum(axis=1, keepdims=True)
    return np.asarray(reached - np.divide(total, counts, where=counts > 0, out=np.full_like(total, np.nan)))
