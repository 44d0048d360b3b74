"""The course of the windows where people look: Evidently's dashboard, and in MLflow the runs of the champions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from expectations.errors import AccessError, BusyError, ReportError, StorageError, UnreachableError
from expectations.windows import Window
from tasks.monitoring import workspace
from tasks.stores.finding_kinds import describe
from tasks.stores.measurements import Measurement
from tasks.stores.places import Job
from tasks.stores.progress import say_stage
from tasks.stores.registry import ModelVersion, Registry

TRACKED = "tracked"
"""Mark in the database: ends of the windows, by bundle, whose figures MLflow has."""


def show_course(job: Job) -> None:
    """Bring the dashboard and the runs up to what was measured; nothing depends on either."""
    spec = job.usecase.spec
    greater = {rule.metric: spec.greater_is_better[rule.metric] for rule in spec.monitoring.performance}
    measured = job.database.measurements(job.name, last=workspace.WINDOWS)
    if not measured:
        return
    _keep_course(job, measured, greater)
    try:
        track_windows(job, measured, greater)
    except (UnreachableError, AccessError) as error:  # the next run catches up
        say_stage("monitor: MLflow does not take what was measured now: %s", error)


def _keep_course(job: Job, measured: Sequence[Measurement], greater: Mapping[str, bool]) -> None:
    """Write the course into Evidently's workspace; where that cannot be, it is a finding until it can."""
    try:
        workspace.keep_course(job.places.reports, job.name, job.usecase.spec.title, measured, greater)
    except (StorageError, ReportError, BusyError) as error:
        say_stage("monitor: Evidently's workspace does not take what was measured now: %s", error)
        with job.database.transaction() as connection:
            job.database.record(connection, describe(job.name, "course", "warning", str(error)), job.as_of)
    else:
        job.database.end(job.name, ["course"], "the course of the windows was written", job.as_of)


def track_windows(job: Job, measured: Sequence[Measurement], greater: Mapping[str, bool]) -> int:
    """Log windows whose labels are known to the runs of the versions that answered; returns how many that were.

    Parameters
    ----------
    measured : sequence of Measurement
        The newest windows, oldest first.
    """
    marked = json.loads(job.database.marked(job.name, TRACKED) or "{}")
    done = _logged(marked, measured)
    due = [each for each in measured if each.status != "unknown" and each.end.isoformat() not in done[each.champion]]
    logged = 0
    try:
        if due:
            registry, steps = job.registry(), _steps(job, measured)
            versions = {bundle: registry.find(bundle) for bundle in sorted({each.champion for each in due})}
            for each in due:
                logged += _log(registry, each, versions[each.champion], steps[each.window], greater)
                done[each.champion].append(each.end.isoformat())
    finally:  # what was logged before MLflow failed is not logged again
        kept = {bundle: ends for bundle, ends in done.items() if ends}
        if kept != marked:
            job.database.mark(job.name, TRACKED, json.dumps(kept))
    return logged


def _log(
    registry: Registry, found: Measurement, version: ModelVersion | None, step: int, greater: Mapping[str, bool]
) -> bool:
    """Log a window to the run of the version that answered; whether it has one that takes it."""
    if version is None or not version.run:
        return False
    named = {
        f"monitoring/{name.replace(' ', '_')}": value for name, value in workspace.values_of(found, greater).items()
    }
    if registry.log_window(version.run, named, found.end, step):
        return True
    say_stage("monitor: run %s of version %s was deleted in MLflow; it takes no window", version.run, version.version)
    return False


def _steps(job: Job, measured: Sequence[Measurement]) -> dict[Window, int]:
    """Return the number of each window among its bundle's, from 0."""
    here, found = Counter(each.champion for each in measured), {}
    steps = {
        bundle: max(0, job.database.count_measurements(job.name, champion=bundle) - count)
        for bundle, count in here.items()
    }
    for each in measured:
        found[each.window] = steps[each.champion]
        steps[each.champion] += 1
    return found


def _logged(marked: Mapping[str, str | list[str]], measured: Sequence[Measurement]) -> dict[str, list[str]]:
    """Return by bundle the ends of those windows that were logged.

    A mark of before labels were awaited out of order is the end of the last one: those known up to it were.
    """
    found: dict[str, list[str]] = {each.champion: [] for each in measured}
    for each in measured:
        bundle, end = each.champion, each.end.isoformat()
        ends = marked.get(bundle, ())
        if each.status != "unknown" and (end <= ends if isinstance(ends, str) else end in ends):
            found[bundle].append(end)
    return found
