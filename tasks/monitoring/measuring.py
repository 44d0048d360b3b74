"""What a window of production looked like: rows, drift, realised performance. Numbers, no opinion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.families import Scores
from expectations.metrics import Blocks
from expectations.slots import METRICS
from expectations.usecase import UseCase
from expectations.windows import Window
from tasks.bundles.bundle import Bundle
from tasks.bundles.intervals_in_force import IntervalsInForce
from tasks.bundles.manifest import Manifest
from tasks.bundles.served_rows import decode_rows, scores_of, true_labels, window_predictions
from tasks.evaluation.baselines import predict_baselines
from tasks.evaluation.drift import judge
from tasks.evaluation.drifted import Drifted, most_certain_first, undetermined
from tasks.evaluation.estimates.estimate import Estimate
from tasks.evaluation.interval import in_time, time_blocks, value_interval
from tasks.evaluation.metrics import Scored, score
from tasks.evaluation.pairs import Compared
from tasks.evaluation.realised import Realised, hold_against, status_of
from tasks.evaluation.resampling import Resamples
from tasks.monitoring.chosen_reference import ChosenReference, hold_against_chosen
from tasks.monitoring.declared_measures import measure_declared
from tasks.monitoring.parting import columns_of_parts, measure_coverage, measure_parts
from tasks.monitoring.watched_columns import is_watched, only_watched
from tasks.monitoring.window_estimates import estimate_window
from tasks.preprocessing.formulas import finite_or_none
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.measured_parts import FeedbackUse, MeasureFound
from tasks.stores.measurements import (
    Measurement,
    measurement_of,
)

REFERENCE = timedelta(days=400)
"""How far back rows and earlier windows are taken from to hold a window against: a year, and the same season in it."""


def measure(
    window: Window,
    spec: UseCase,
    champion: Bundle,
    version: str,
    lake: Lake,
    as_of: datetime,
    best: Mapping[str, float],
    cutoffs: Mapping[str, datetime],
    classes: Mapping[str, tuple[str, ...]],
    past: Sequence[Measurement] = (),
    holdout: Mapping[str, Any] = MappingProxyType({}),
    in_force: IntervalsInForce = IntervalsInForce(),  # noqa: B008 - it is frozen
) -> Measurement:
    """Measure one window.

    Parameters
    ----------
    best : mapping of str to float
        Metric -> best value the champion has shown in ripe windows so far.
    cutoffs : mapping of str to datetime
        As for `window_predictions`.
    classes : mapping of str to tuple of str
        Bundle -> its classes in the order of its scores, of each that answered.
    past : sequence of Measurement
        What was measured before, by window, this one's own measurement too: how far estimates were off.
    holdout : mapping
        What the champion's recipe reached on parts of its holdout (`read_holdout`).
    in_force : IntervalsInForce
        Which intervals of the champion answered when.
    """
    spec, undefined = _as_learnt(spec, champion.manifest)
    predictions = window_predictions(lake, window, cutoffs)
    mine = predictions.filter(pl.col("bundle") == champion.digest)
    ripe = window.ripe(spec.label.available_after, as_of)
    known = Known(lake, spec, as_of)
    drift: list[Drifted] = []
    estimated: tuple[Estimate, ...] = ()
    served: dict[str, float] = {}
    labelled, coverage, scored, feedback = 0, 0.0, None, FeedbackUse()
    unseen, mix = 0, dict[str, dict[str, float]]()
    parts, covered, reference = None, None, None
    measures: dict[str, MeasureFound] = {}
    times = predictions["event_time"].clear()
    if len(predictions):
        rows = decode_rows(predictions, champion.manifest.columns)
        labels, feedback = true_labels(predictions, rows, known, lake, window, champion.manifest)
        order, threshold = champion.classes, champion.manifest.threshold
        scores = scores_of(predictions["prediction"], predictions["bundle"], classes, order, champion.manifest.problem)
        everything, *_ = known_part(scores, labels, predictions["event_time"], threshold)
        served = (
            {metric: score(metric, everything) for metric in spec.greater_is_better} if len(everything.label) else {}
        )
        own = predictions["bundle"] == champion.digest
        answered = scores[own.to_numpy()]
        scored, times, mask = known_part(answered, labels.filter(own), mine["event_time"], threshold)
        unseen = _unseen(labels.filter(own), order)
        mix = champion.manifest.problem.mix(answered, order)
        estimated = estimate_window(window, spec, champion, rows.filter(own), answered, labels.filter(own), past)
        labelled = len(scored.label)
        coverage = labelled / len(mine) if len(mine) else 0.0
        if len(predictions) >= spec.monitoring.min_rows:
            held = hold_against_chosen(window, champion, known)
            drift = _drift(rows, predictions, scores, labels if ripe else None, champion, spec, held)
            reference = held.said
            if spec.monitoring.measures:
                measures = measure_declared(rows, predictions["event_time"], champion, known)
    realised = tuple(
        _realise(
            rule.metric,
            rule.drop,
            _reference(rule.metric, rule.versus, champion, best, spec),
            scored,
            spec,
            enough=ripe and coverage >= rule.min_coverage and labelled >= spec.monitoring.min_rows,
        )
        for rule in spec.monitoring.performance
    )
    if scored is not None and any(each.value is not None for each in realised):
        blocks = time_blocks(*in_time(times, spec))
        realised = _beside(realised, scored, times, blocks, known, spec, champion.manifest)
        drawn = Resamples(blocks, confidence=0.95, seed=spec.model.seed)
        covered = measure_coverage(scored, times, drawn, champion, in_force)
        if spec.monitoring.looked_at:
            columns = columns_of_parts(rows, known, window, champion.manifest, spec.monitoring.looked_at)
            parts = measure_parts(columns.filter(own), scored, drawn, spec, holdout, mask)
    slices, fairness = parts or (None, None)
    return measurement_of(
        window,
        champion=champion.digest,
        version=version,
        rows=len(predictions),
        champion_rows=len(mine),
        labelled=labelled,
        coverage=coverage,
        ripe=ripe,
        status=status_of(realised + undefined),
        realised=realised + undefined,
        drift=tuple(drift),
        served={name: value for name, value in served.items() if math.isfinite(value)},
        feedback=feedback,
        estimated=estimated,
        slices=slices,
        fairness=fairness,
        covered=covered,
        measures=measures,
        reference=reference,
        unseen=unseen,
        mix={name: {**shares} for name, shares in mix.items()},
        unwatched=dict(champion.manifest.problem.unwatched),
    )


def _as_learnt(spec: UseCase, manifest: Manifest) -> tuple[UseCase, tuple[Realised, ...]]:
    """Return a use case as the kind of problem that a bundle solves, and the rules that are not defined for that.

    Another may be declared since the bundle was packed: its own predictions stay what they are.
    """
    if spec.task == manifest.task:
        return spec, ()
    fits = {name: manifest.task in METRICS.released(name).tasks for name in spec.greater_is_better}
    rules = spec.monitoring.performance
    kept = tuple(rule for rule in rules if fits[rule.metric])
    undefined = tuple(Realised(each.metric, drop=each.drop) for each in rules if not fits[each.metric])
    changes = {
        "task": manifest.task,
        "gates": tuple(gate for gate in spec.gates if not gate.metric or fits[gate.metric]),
        "monitoring": spec.monitoring.model_copy(update={"performance": kept, "fairness": ()}),
    }
    return spec.model_copy(update=changes), undefined


def known_part(
    scores: Scores, labels: pl.Series, times: pl.Series, threshold: float
) -> tuple[Scored, pl.Series, npt.NDArray[np.bool_]]:
    """Put labels beside scores, where they are known; of several classes also only where the scores are.

    Parameters
    ----------
    scores : ndarray of shape (n_rows,) or (n_rows, n_classes)
    labels, times : polars.Series of shape (n_rows,)
    threshold : float
        Of the bundle that answered: rows were called positive by this one, whatever is declared since.

    Returns
    -------
    scored : Scored
        Labels and scores of the rows that are known.
    times : polars.Series
        Of those rows.
    mask : ndarray of shape (n_rows,)
        Which they are.
    """
    mask: npt.NDArray[np.bool_] = labels.is_finite().fill_null(value=False).to_numpy().copy()
    if scores.ndim > 1:  # rows of a bundle that is gone have none
        mask &= np.isfinite(scores).all(axis=1)
    scored = Scored(labels.to_numpy().astype(np.float64)[mask], scores[mask], threshold)
    return scored, times.filter(pl.Series(mask)), mask


def _unseen(labels: pl.Series, classes: Sequence[str]) -> int:
    """Count the labels of classes that the model never saw."""
    return int((labels >= len(classes)).sum()) if classes else 0


def _reference(metric: str, versus: str, champion: Bundle, best: Mapping[str, float], spec: UseCase) -> float | None:
    holdout = champion.manifest.metrics.get(metric)
    if versus == "holdout" or metric not in best:
        return holdout
    if holdout is None:
        return best[metric]
    return max(holdout, best[metric]) if spec.greater_is_better[metric] else min(holdout, best[metric])


def _realise(
    metric: str, drop: float, reference: float | None, scored: Scored | None, spec: UseCase, *, enough: bool
) -> Realised:
    value = score(metric, scored) if scored is not None and enough else None
    return hold_against(metric, value, reference, drop, greater_is_better=spec.greater_is_better[metric])


def _beside(
    realised: Sequence[Realised],
    scored: Scored,
    times: pl.Series,
    blocks: Blocks,
    known: Known,
    spec: UseCase,
    manifest: Manifest,
) -> tuple[Realised, ...]:
    """Put its interval and what needs no model beside each value that is known."""
    clock = spec.time_column
    first: datetime | None = times.min()  # type: ignore[assignment] # instants
    since = None if first is None or not spec.timed else spec.label_delay.after(first, -1) - REFERENCE
    labelled = known.labelled(columns=[clock, spec.label.column], since=since)
    if not spec.timed:  # of a row that is asked about it may be there already; what the champion learnt, was
        labelled = labelled.filter(pl.col(clock) <= manifest.cutoff)
    said = predict_baselines(labelled, times.alias(clock).to_frame(), spec, manifest.classes)
    found = []
    for each in realised:
        if each.value is not None:
            low, high = value_interval(each.metric, scored, blocks, seed=spec.model.seed)
            reached = {
                name: score(each.metric, Scored(scored.label, value, scored.threshold)) for name, value in said.items()
            }
            baselines = {name: value for name, value in reached.items() if math.isfinite(value)}
            bounds = {"low": finite_or_none(low), "high": finite_or_none(high)}
            each = msgspec.structs.replace(each, **bounds, baselines=baselines)  # noqa: PLW2901
        found.append(each)
    return tuple(found)


def _drift(
    rows: pl.DataFrame,
    predictions: pl.DataFrame,
    scores: Scores,
    labels: pl.Series | None,
    champion: Bundle,
    spec: UseCase,
    held: ChosenReference,
) -> list[Drifted]:
    """Hold the inputs, the predictions and the known labels of a window against what they are held against."""
    rules, label = spec.monitoring.drift, spec.label.column
    references = held.tables
    said = champion.manifest.problem.columns(scores, champion.classes)
    window = rows.with_columns(said.get_columns())
    times = predictions["event_time"]
    if not references and held.said is None:
        older = [name for name in champion.reference() if is_watched(name, champion, spec)]
        return [undetermined(name, "the champion was packed by an older version: train it again") for name in older]
    compared = []
    drawn = not spec.timed  # rows without a time are taken as independent of each other
    for reference in references:
        kept = only_watched(reference, champion, spec)
        if label not in reference.columns:
            compared.append(Compared(kept, window, None if drawn else times, drawn))
        elif labels is not None and labels.null_count() < len(labels):
            known = labels.is_not_null()  # a label that is not there is not known yet, and not missing
            came = None if drawn else times.filter(known)
            found = champion.manifest.problem.words(labels.filter(known), champion.classes)
            compared.append(Compared(kept, found.alias(label).to_frame(), came, drawn))
    columns = judge(compared, alpha=rules.alpha, min_effect=rules.min_effect, scores=rules.scores)
    return most_certain_first([*columns, *held.unknown])
