"""Why a window loses more than those the champion answered before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl

from expectations.problems import to_scores
from expectations.usecase import UseCase
from expectations.windows import Window
from tasks.bundles.bundle import Bundle
from tasks.bundles.served_rows import answers_of, decode_rows, true_labels
from tasks.evaluation.causes.explaining import explain
from tasks.evaluation.causes.model import Causes, unknown
from tasks.evaluation.causes.rows import PeriodRows, row_loss
from tasks.evaluation.interval import in_time
from tasks.evaluation.views import picture_views, with_views
from tasks.monitoring.measuring import REFERENCE
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.measurements import Measurement

MAX_ROWS = 20_000
"""Rows of either period that are looked at; of more, every k-th in time."""


def explain_window(
    found: Measurement,
    earlier: Sequence[Measurement],
    spec: UseCase,
    champion: Bundle,
    lake: Lake,
    as_of: datetime,
    cutoffs: Mapping[str, datetime],
) -> Causes | None:
    """Find why the champion loses more in a window than in those before; None where it does not, or nothing is known.

    Parameters
    ----------
    earlier : sequence of Measurement
        Of any bundle and time.
    """
    rule = found.judged
    if found.status == "unknown" or rule is None or rule.value is None:
        return None
    if "causes" in champion.manifest.problem.unwatched:
        return unknown(rule.metric, champion.manifest.problem.unwatched["causes"])
    since, start = found.start - REFERENCE, found.start
    values, weights, windows = [], [], []
    for each in earlier:
        if each.champion != champion.digest or not since <= each.start < each.end <= start:
            continue
        realised = each.known(rule.metric)
        if realised is not None:
            values.append(realised.value)
            weights.append(each.labelled)
            windows.append(each.window)
    if not windows:
        return unknown(rule.metric, "no earlier window of this champion with known labels")
    usual = float(np.average(np.array(values, dtype=np.float64), weights=weights))
    if rule.value >= usual if spec.greater_is_better[rule.metric] else rule.value <= usual:
        return None
    known = Known(lake, spec, as_of)
    before, now = (_rows(each, champion, known, lake, cutoffs) for each in (windows, [found.window]))
    zone = spec.local_zone
    block = spec.evaluation.block.approximate_seconds
    if not spec.timed:
        before, now, block = _in_order(before, now, spec)
    loss = row_loss(rule.metric, champion.manifest.task, champion.manifest.threshold, champion.classes)
    return explain(before, now, loss, block=block, seed=spec.model.seed, timezone=zone)


def _in_order(before: PeriodRows, now: PeriodRows, spec: UseCase) -> tuple[PeriodRows, PeriodRows, float]:
    """Let rows that have no time follow each other: earlier windows, then the one that is looked at."""
    order = pl.Series(range(len(before) + len(now)), dtype=pl.Int64)
    seconds, block = in_time(order, spec)
    return replace(before, seconds=seconds[: len(before)]), replace(now, seconds=seconds[len(before) :]), block


def _rows(
    windows: Sequence[Window], champion: Bundle, known: Known, lake: Lake, cutoffs: Mapping[str, datetime]
) -> PeriodRows:
    """Read what the champion answered in windows, with what is known of it."""
    ordered = sorted(windows, key=lambda window: window.start)
    whole = Window(ordered[0].start, max(each.end for each in ordered))
    predictions = answers_of(lake, champion.digest, whole, cutoffs, MAX_ROWS)
    if len(windows) > 1:
        bounds = pl.DataFrame(
            {"_start": [each.start for each in ordered], "_end": [each.end for each in ordered]},
            schema={"_start": pl.Datetime("us", "UTC"), "_end": pl.Datetime("us", "UTC")},
        )
        predictions = predictions.join_asof(bounds, left_on="event_time", right_on="_start").filter(
            pl.col("event_time") < pl.col("_end")
        )
    decoded = decode_rows(predictions, champion.manifest.columns)
    labels, _ = true_labels(predictions, decoded, known, lake, whole, champion.manifest)
    types = {column.name: column.type for column in champion.manifest.columns}
    looked_at = [name for name in champion.inputs if types.get(name) in ("number", "integer", "text", "boolean")]
    views = picture_views(name for name in champion.inputs if types.get(name) == "image")
    return PeriodRows(
        with_views(decoded, None, views).select(*looked_at, *(each.name for each in views)),
        labels.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64),
        to_scores(predictions["prediction"]),
        predictions["event_time"].dt.epoch("us").to_numpy().astype(np.float64) / 1e6,
    )
