"""What a look at production is to measure, found without reading what earlier looks are done with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import polars as pl

from expectations.alert_rules import Strays
from expectations.usecase import UseCase
from expectations.windows import Grid, Window
from tasks.bundles.champion import answering_bundles, manifests_of
from tasks.bundles.manifest import Manifest
from tasks.monitoring.served import ServedWindow, find_asked, find_late, find_learnt, find_served
from tasks.monitoring.watermarks import AskedWindows, Watermark, kept_watermark, merged, present_watermark
from tasks.stores.lake import Lake
from tasks.stores.measurements import Measurement
from tasks.stores.places import Job
from tasks.stores.table_settings import HARVEST

PATIENCE = 10
"""Later windows by count that are ripe, after which the labels of one are not waited for."""
_SLACK = timedelta(days=7)
"""By which months and days of a clock change may be longer than they are taken for."""
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_MAX_CLOSED = 1000
"""Windows by count, the newest, among which those that still wait for labels are."""


@dataclass(frozen=True)
class Look:
    """What a look finds.

    Attributes
    ----------
    windows : list of ServedWindow
        Every closed window with predictions that may not be final yet; final ones among them or not.
    known : list of Measurement
        What was measured of these, and of all that overlap them or came later.
    watermark : Watermark
        To be kept once the windows are measured.
    """

    windows: list[ServedWindow]
    known: list[Measurement]
    strays: list[Strays]
    asked: AskedWindows
    manifests: Mapping[str, Manifest]
    watermark: Watermark


@dataclass(frozen=True)
class _Basis:
    """Predictions that were not looked at before, who answered any, and how the table is now."""

    fresh: pl.LazyFrame
    manifests: Mapping[str, Manifest]
    now: Watermark

    @property
    def cutoffs(self) -> dict[str, datetime]:
        return {digest: manifest.cutoff for digest, manifest in self.manifests.items()}


def look(job: Job, lake: Lake) -> Look:
    """Look at the predictions of the lake, as far as they were not looked at before."""
    spec, as_of, kept = job.usecase.spec, job.as_of, kept_watermark(job)
    basis = _basis(job, lake, kept)
    if kept is not None and not kept.holds(basis.now, int(basis.fresh.select(pl.len()).collect().item())):
        kept = None
        basis = _basis(job, lake, kept)
    fresh, cutoffs = basis.fresh, basis.cutoffs
    learnt = merged(kept.learnt if kept else (), find_learnt(fresh, cutoffs, as_of))
    asked = (kept.asked if kept else AskedWindows()).among(spec.grid, find_asked(fresh, spec.grid))
    since = _waiting_since(job, spec, min(as_of, kept.as_of)) if kept else None
    late: list[Window] = []
    if since is not None and isinstance(spec.windows, Grid):
        late = _never_measured(job, find_late(fresh, spec.windows, cutoffs, as_of, since), as_of)
    known = job.database.measurements(job.name, since=min([since, *(each.start for each in late)]) if since else None)
    closed = [each.window for each in known]
    windows, strays = find_served(lake, spec.windows, cutoffs, as_of, closed, since=since, late=late)
    ahead = [each for each in strays if each.why == "ahead"]
    watermark = replace(basis.now, learnt=tuple(learnt), asked=asked)
    if kept is not None and as_of < kept.as_of:  # a look back: what is left for later is not done with
        watermark = kept
    return Look(windows, known, merged(learnt, ahead), asked, basis.manifests, watermark)


def _basis(job: Job, lake: Lake, kept: Watermark | None) -> _Basis:
    spec, rows = job.usecase.spec, lake.scan("predictions")
    fresh = rows if kept is None else rows.filter(pl.col(HARVEST) > kept.harvest)
    answered = sorted({*(kept.cutoffs if kept else ()), *answering_bundles(fresh)})
    manifests = manifests_of(job.releases, lake.usecase, answered)
    cutoffs = {digest: manifests[digest].cutoff if digest in manifests else None for digest in answered}
    return _Basis(fresh, manifests, present_watermark(lake, repr((spec.windows, spec.grid)), job.as_of, cutoffs))


def _waiting_since(job: Job, spec: UseCase, as_of: datetime) -> datetime | None:
    """Return where the first window begins that may wait for its labels; None where all may."""
    span, delay = spec.monitoring.span, spec.label.available_after
    if span is not None:
        seconds = delay.approximate_seconds + 2 * span.approximate_seconds
        if timedelta(seconds=seconds) + _SLACK >= as_of - _EARLIEST:
            return None
        return spec.grid.window_of(as_of - timedelta(seconds=seconds) - _SLACK).start
    closed = job.database.measured_windows(job.name, last=_MAX_CLOSED)
    ripe = sorted(each.end for each in closed if each.ripe(delay, as_of))
    if len(ripe) <= PATIENCE:
        return None
    return min(each.start for each in closed if each.end >= ripe[-1 - PATIENCE])


def _never_measured(job: Job, windows: Sequence[Window], as_of: datetime) -> list[Window]:
    """Return those of some windows that are closed, and that nothing was measured of."""
    closed = [each for each in windows if each.end <= as_of]
    if not closed:
        return []
    first, last = closed[0].start, max(each.end for each in closed)
    measured = set(job.database.measured_windows(job.name, since=first, until=last))
    return [each for each in closed if each not in measured]
