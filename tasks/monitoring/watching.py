"""Measure every window of production that is due; where nothing is asked any more is found, too."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

import msgspec

from expectations.windows import Window
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.bundles.champion import answering_manifests, refuse_redefined
from tasks.bundles.intervals_in_force import IntervalsInForce, intervals_in_force
from tasks.monitoring.alerting import end_of_others, end_undeclared, note_run, note_window
from tasks.monitoring.explaining import explain_window
from tasks.monitoring.looking import PATIENCE, look
from tasks.monitoring.measuring import REFERENCE, measure
from tasks.monitoring.parting import read_holdout
from tasks.monitoring.served import ServedWindow
from tasks.monitoring.watermarks import keep_watermark
from tasks.stores.lake import UPKEEP
from tasks.stores.measurements import Measurement
from tasks.stores.pinned import PinnedLake
from tasks.stores.places import Job


def measure_windows(job: Job) -> list[Measurement]:
    """Measure every closed window with predictions that is not final yet, oldest first.

    A window belongs to the bundle that answered most of it, also after that was replaced. It is final once all its
    rules are known, or once it has been ripe for another window's length (by count: once ten later ones are ripe). Rows
    that are in no window are reported. What was measured stays: where windows are cut otherwise since (another length,
    zone or first day of the week, or by count), the new ones begin after the last known one. Erasing rows
    waits meanwhile.
    """
    end_undeclared(job)  # also where nothing is served, or was asked
    desired = job.releases.desired(job.name)
    if desired is None or desired.champion is None or job.lake.version("predictions") is None:
        return []
    with job.lake.alone(UPKEEP):  # files of the versions that are looked at would be removed under it
        return _measure_windows(job, desired.champion.bundle, PinnedLake.of(job.lake))


def _measure_windows(job: Job, champion: str, lake: PinnedLake) -> list[Measurement]:
    spec, seen = job.usecase.spec, look(job, lake)
    cutoffs = {digest: manifest.cutoff for digest, manifest in seen.manifests.items()}
    classes = {digest: manifest.classes for digest, manifest in seen.manifests.items()}
    known = {each.window: each for each in seen.known}
    note_run(job, seen.strays, seen.asked)
    over = _over_until(job, [each.window for each in seen.windows])
    due = [each for each in seen.windows if not _is_final(job, each.window, known.get(each.window), over)]
    due = _not_cut_otherwise(due, known)
    past = _past(job, due)
    due_windows, due_bundles = {each.window for each in due}, sorted({each.bundle for each in due})
    best: dict[str, dict[str, float]] = {}
    greater = spec.greater_is_better
    if any(rule.versus == "best" for rule in spec.monitoring.performance):
        for bundle in due_bundles:
            for earlier in job.database.measurements(job.name, champion=bundle):
                if earlier.window not in due_windows:
                    _improve(best, earlier, greater)
    bundles: dict[str, Bundle] = {}
    in_force: dict[str, IntervalsInForce] = {}
    holdouts: dict[str, Mapping[str, Any]] = {}
    measured = []
    for each in due:
        if each.bundle not in bundles:
            bundles[each.bundle] = load_bundle(job.releases.bundle(job.name, each.bundle), each.bundle)
            refuse_redefined(bundles[each.bundle].manifest, spec)
            in_force[each.bundle] = intervals_in_force(job.database, job.name, each.bundle)
            holdouts[each.bundle] = read_holdout(bundles[each.bundle]) if spec.monitoring.looked_at else {}
        year = _of_the_year(past, each.window)
        found = measure(
            each.window,
            spec,
            bundles[each.bundle],
            each.version,
            lake,
            job.as_of,
            best.get(each.bundle, {}),
            cutoffs,
            classes,
            year,
            holdouts[each.bundle],
            in_force[each.bundle],
        )
        explained = explain_window(found, year, spec, bundles[each.bundle], lake, job.as_of, cutoffs)
        found = msgspec.structs.replace(found, causes=explained)
        past[each.window] = found
        job.database.put_measurement(job.name, found)
        _improve(best, found, greater)
        note_window(job, champion, found, bundles[each.bundle].manifest)
        measured.append(found)
    end_of_others(job, champion)
    keep_watermark(job, seen.watermark)
    return measured


def _past(job: Job, due: Sequence[ServedWindow]) -> dict[Window, Measurement]:
    """Return what was measured from a year before the first window that is to be measured (again)."""
    if not due:
        return {}
    since = min(each.window.start for each in due) - REFERENCE
    return {each.window: each for each in job.database.measurements(job.name, since=since)}


def _of_the_year(past: Mapping[Window, Measurement], window: Window) -> tuple[Measurement, ...]:
    """Return what was measured from a year before a window on, whichever windows are due beside it."""
    since = window.start - REFERENCE
    return tuple(each for measured, each in past.items() if measured.end > since)


def _not_cut_otherwise(due: Sequence[ServedWindow], known: Mapping[Window, Measurement]) -> list[ServedWindow]:
    """Leave out windows that overlap one of another span whose performance is known: no row counts twice."""
    spans = sorted(
        ((each.start, each.end) for each in known.values() if each.status != "unknown"), key=lambda span: span[1]
    )
    ends = [end for _, end in spans]
    begins = list(accumulate((start for start, _ in reversed(spans)), min))[::-1]  # of all that end so late or later
    kept = []
    for each in due:
        window, at = each.window, bisect_right(ends, each.window.start)
        if window in known or at == len(spans) or begins[at] >= window.end:
            kept.append(each)
    return kept


def cutoffs_of(job: Job) -> dict[str, datetime]:
    """Return up to when each bundle has learnt that answered; one that is gone or damaged has none."""
    return {digest: manifest.cutoff for digest, manifest in answering_manifests(job).items()}


def _over_until(job: Job, windows: Sequence[Window]) -> datetime | None:
    """Return up to which end windows by count have waited long enough for their labels; None where none has."""
    delay = job.usecase.spec.label.available_after
    ripe = sorted(each.end for each in windows if each.ripe(delay, job.as_of))
    return ripe[-1 - PATIENCE] if len(ripe) > PATIENCE else None


def _is_final(job: Job, window: Window, found: Measurement | None, over: datetime | None) -> bool:
    if found is None:
        return False
    spec = job.usecase.spec
    if found.ripe and all(rule.status != "unknown" for rule in found.realised):
        return True
    if spec.monitoring.span is None:
        return over is not None and window.end <= over
    return spec.monitoring.span.after(spec.label.available_after.after(window.end)) <= job.as_of


def _improve(best: dict[str, dict[str, float]], found: Measurement, greater: Mapping[str, bool]) -> None:
    """Take the values of a measured window into the best each bundle has shown."""
    own = best.setdefault(found.champion, {})
    for rule in found.realised:
        if rule.value is not None:
            choose = max if greater[rule.metric] else min
            own[rule.metric] = choose(own.get(rule.metric, rule.value), rule.value)
