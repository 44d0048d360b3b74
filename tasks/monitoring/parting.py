"""What was measured of the declared parts of a window: slices, and groups that are to be treated alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.errors import BundleError
from expectations.metrics import Scored, ratio
from expectations.usecase import UseCase
from expectations.windows import TICK, Window
from tasks.bundles.bundle import Bundle, read_evaluation
from tasks.bundles.intervals_in_force import IntervalsInForce
from tasks.bundles.manifest import Manifest
from tasks.bundles.served_rows import as_type
from tasks.evaluation.fairness import MEASURES
from tasks.evaluation.parts import Parted, parted
from tasks.evaluation.resampling import Bounded, Resamples
from tasks.evaluation.slices import Cuts, learn_cuts
from tasks.preprocessing.formulas import finite_or_none
from tasks.stores.known import Known
from tasks.stores.measured_parts import (
    Covered,
    FairnessMeasured,
    FigureMeasured,
    GroupMeasured,
    SliceMeasured,
)


def columns_of_parts(
    rows: pl.DataFrame, known: Known, window: Window, manifest: Manifest, wanted: Sequence[str]
) -> pl.DataFrame:
    """Return the columns that answered rows are parted by: of the request, else of the sources by the same keys.

    Parameters
    ----------
    rows : polars.DataFrame of shape (n_rows, any)
        As they were asked about.

    Returns
    -------
    polars.DataFrame of shape (n_rows, any)
        What is neither in requests nor collected is left out.
    """
    spec = known.spec
    here = rows.select(column for column in wanted if column in rows.columns)
    lacking = [column for column in wanted if column not in rows.columns and column not in spec.keys]
    if not lacking:
        return here
    with known.lake.reading("raw"):
        collected = known.lake.scan("raw").collect_schema()
    lacking = [column for column in lacking if column in collected]
    if not lacking:
        return here
    since, until = (window.start, window.end) if spec.timed else (manifest.cutoff + TICK, None)
    found = known.rows("raw", columns=[*spec.keys, *lacking], since=since, until=until)
    asked = rows.select(as_type(rows, key, found.schema[key]) for key in spec.keys)
    joined = asked.join(found, on=list(spec.keys), how="left", maintain_order="left", nulls_equal=False)
    return pl.concat([here, joined.select(lacking)], how="horizontal")


def measure_parts(
    frame: pl.DataFrame,
    scored: Scored,
    drawn: Resamples,
    spec: UseCase,
    holdout: Mapping[str, Any],
    mask: npt.NDArray[np.bool_],
) -> tuple[tuple[SliceMeasured, ...], tuple[FairnessMeasured, ...]]:
    """Measure the declared parts of a champion's labelled rows, beside what its recipe reached on them before.

    Parameters
    ----------
    frame : polars.DataFrame of shape (n_rows, any)
        Columns that rows are parted by.
    scored : Scored
        The rows of `mask`.
    drawn : Resamples
        Of the blocks of time that these lie in.
    holdout : mapping
        What `read_holdout` returns for the champion.
    """
    some = frame.filter(pl.Series(mask))
    cuts: Cuts = holdout.get("cuts") or {}
    missing = [name for name in spec.monitoring.slices if name not in cuts and name in some.columns]
    declared = {name: cuts[name] for name in spec.monitoring.slices if name in cuts}
    found = parted(some, scored, spec, {**declared, **learn_cuts(some, missing)}, drawn)
    return _slices(found, holdout, spec), judge_fairness(found, spec)


def measure_coverage(
    scored: Scored, times: pl.Series, drawn: Resamples, champion: Bundle, in_force: IntervalsInForce
) -> Covered | None:
    """Measure how often a champion's intervals, or sets of classes, held the truth; None where it has none.

    Parameters
    ----------
    times : polars.Series of shape (n_rows,)
        Event times of the scored rows: each is held against what it was answered with.
    drawn : Resamples
        Of the blocks of time that these rows lie in.
    """
    held = in_force.hold(champion, scored, times)
    if held is None:
        return None
    share = figure_of(drawn.bounded(ratio(drawn.total(held), drawn.total(np.ones(len(held))))))
    return Covered(share.value, share.low, share.high, in_force.declared(champion), len(held))


def read_holdout(champion: Bundle) -> Mapping[str, Any]:
    """Return what a champion's evaluation says of the parts of its holdout; empty where it has none."""
    try:
        kept = read_evaluation(champion.folder, champion.manifest)
    except BundleError:  # reported where the bundle is loaded
        return {}
    return kept["extra"] if kept is not None else {}


def _slices(found: Parted, holdout: Mapping[str, Any], spec: UseCase) -> tuple[SliceMeasured, ...]:
    held = {
        each["words"]: msgspec.convert(each["metrics"], dict[str, FigureMeasured]) for each in holdout.get("slices", ())
    }
    measured = []
    for each in found.slices:
        before, worse = held.get(each.words, {}), []
        for rule in spec.monitoring.performance:
            reference, value = before.get(rule.metric, FigureMeasured()).value, each.metrics.get(rule.metric)
            if reference is None or value is None:
                continue
            greater = spec.greater_is_better[rule.metric]
            least_bad = value.high if greater else value.low
            loss = reference - least_bad if greater else least_bad - reference
            if math.isfinite(loss) and loss > rule.drop:
                worse.append(rule.metric)
        metrics = {name: figure_of(value) for name, value in each.metrics.items()}
        measured.append(SliceMeasured(each.words, each.rows, each.column, metrics, before, tuple(worse)))
    return tuple(measured)


def judge_fairness(found: Parted, spec: UseCase) -> tuple[FairnessMeasured, ...]:
    """Return differences between groups beside what is declared, and which bounds are broken beyond doubt."""
    measured, declared = [], {each.by: each for each in spec.monitoring.fairness}
    for each in found.fairness:
        bounds = {name: getattr(declared[each.column], name) for name in MEASURES}
        broken = [
            name
            for name, bound in bounds.items()
            if bound is not None and name in each.measures and each.measures[name].low > bound
        ]
        groups = [
            GroupMeasured(
                group.name,
                group.rows,
                *(figure_of(share) for share in (group.selected, group.true_positive, group.false_positive)),
            )
            for group in each.groups
        ]
        measures = {name: figure_of(value) for name, value in each.measures.items()}
        measured.append(FairnessMeasured(each.column, tuple(groups), measures, each.too_small, bounds, tuple(broken)))
    return tuple(measured)


def figure_of(found: Bounded) -> FigureMeasured:
    """Return a figure as it is kept."""
    return FigureMeasured(finite_or_none(found.value), finite_or_none(found.low), finite_or_none(found.high))
