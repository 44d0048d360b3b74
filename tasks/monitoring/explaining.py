"""Why a window loses more than those the champion answered before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl

from expectations.usecase import UseCase
from expectations.windows import Window
from tasks.bundles.bundle import Bundle
from tasks.evaluation.causes.explaining import explain
from tasks.evaluation.causes.model import Against, Causes, unknown
from tasks.evaluation.causes.rows import PeriodRows, row_loss
from tasks.evaluation.interval import in_time
from tasks.monitoring.compared_rows import answered_rows, judged_rows
from tasks.monitoring.measuring import REFERENCE
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.measurements import Measurement


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

    Of a champion's first window it is why more is lost than on the rows on which its challenger was judged.

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
    windows, usual = _earlier(found, earlier, rule.metric, champion)
    if usual is not None and (rule.value >= usual if spec.greater_is_better[rule.metric] else rule.value <= usual):
        return None
    known = Known(lake, spec, as_of)
    against: Against = "windows"
    if windows:
        before = answered_rows(windows, champion, known, lake, cutoffs)
    elif (judged := judged_rows(champion, known)) is not None:
        before, against = judged, "judged"
    else:
        return unknown(rule.metric, "no earlier window of this champion with known labels")
    now = answered_rows([found.window], champion, known, lake, cutoffs)
    block = spec.evaluation.block.approximate_seconds
    if not spec.timed:
        before, now, block = _in_order(before, now, spec)
    loss = row_loss(rule.metric, champion.manifest.task, champion.manifest.threshold, champion.classes)
    return explain(before, now, loss, block=block, seed=spec.model.seed, timezone=spec.local_zone, against=against)


def _earlier(
    found: Measurement, earlier: Sequence[Measurement], metric: str, champion: Bundle
) -> tuple[list[Window], float | None]:
    """Return the earlier windows of the champion with known labels, and what the metric was in them.

    Without one it is what the judged model reached on its holdout, where that is known.
    """
    since, start = found.start - REFERENCE, found.start
    values, weights, windows = [], [], []
    for each in earlier:
        if each.champion != champion.digest or not since <= each.start < each.end <= start:
            continue
        realised = each.known(metric)
        if realised is not None:
            values.append(realised.value)
            weights.append(each.labelled)
            windows.append(each.window)
    if not windows:
        return [], champion.manifest.metrics.get(metric)
    return windows, float(np.average(np.array(values, dtype=np.float64), weights=weights))


def _in_order(before: PeriodRows, now: PeriodRows, spec: UseCase) -> tuple[PeriodRows, PeriodRows, float]:
    """Let rows that have no time follow each other: earlier windows, then the one that is looked at."""
    order = pl.Series(range(len(before) + len(now)), dtype=pl.Int64)
    seconds, block = in_time(order, spec)
    return replace(before, seconds=seconds[: len(before)]), replace(now, seconds=seconds[len(before) :]), block
