"""Declared parts of scored rows, slices and groups, measured as a use case asks for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from expectations.gates import Figure
from expectations.metrics import Scored
from expectations.usecase import UseCase
from tasks.evaluation.fairness import GroupDisparity, measure_fairness
from tasks.evaluation.interval import in_time, time_blocks
from tasks.evaluation.resampling import Bounded, Resamples
from tasks.evaluation.slices import Cuts, Slice, measure_slices
from tasks.evaluation.splits import units_of


@dataclass(frozen=True)
class Parted:
    """What was measured of parts of some rows."""

    slices: tuple[Slice, ...] = ()
    fairness: tuple[GroupDisparity, ...] = ()
    cuts: Cuts = field(default_factory=dict)
    """Bounds that numbers were cut at."""


def resamples_of(frame: pl.DataFrame, spec: UseCase) -> Resamples:
    """Return resamples of the blocks of time that rows lie in; without a clock, of rows or groups of them."""
    units = None if spec.timed else units_of(frame, spec, least=2)[0]
    blocks = time_blocks(*in_time(frame[spec.time_column], spec, units))
    return Resamples(blocks, confidence=spec.evaluation.confidence, seed=spec.model.seed)


def parted(
    frame: pl.DataFrame, rows: Scored, spec: UseCase, cuts: Cuts, drawn: Resamples, metrics: Sequence[str] = ()
) -> Parted:
    """Measure the declared slices and groups of rows.

    Parameters
    ----------
    frame : polars.DataFrame of shape (n_rows, any)
        Has the columns that are declared and known; others are left out.
    metrics : sequence of str
        Beside those of `monitoring.performance`.
    """
    monitoring = spec.monitoring
    names = list(dict.fromkeys((*(rule.metric for rule in monitoring.performance), *metrics)))
    known = {column: bounds for column, bounds in cuts.items() if column in frame.columns}
    slices = measure_slices(frame, rows, known, names, drawn, monitoring.min_rows)
    fairness = [
        measure_fairness(frame[each.by], rows, drawn, monitoring.min_rows)
        for each in monitoring.fairness
        if each.by in frame.columns
    ]
    return Parted(tuple(slices), tuple(fairness), cuts)


def figures_of(found: Parted) -> list[Figure]:
    """Return figures as gates take them."""
    figures = []
    for each in found.slices:
        for name, value in each.metrics.items():
            figures.append(_figure(each.column, name, each.words, value))
        if not each.metrics:
            figures.append(Figure(each.column, "", each.words, None))
    for group in found.fairness:
        for name, value in group.measures.items():
            figures.append(_figure(group.column, name, f"the groups of {group.column}", value))
    return figures


def _figure(column: str, name: str, words: str, value: Bounded) -> Figure:
    ends = [each if math.isfinite(each) else None for each in (value.value, value.low, value.high)]
    return Figure(column, name, words, *ends)
