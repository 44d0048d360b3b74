"""The course of the windows where people look: Evidently's dashboard, and in MLflow the runs of the champions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from expectations.errors import AccessError, UnreachableError
from tasks.monitoring import workspace
from tasks.stores.places import Job
from tasks.stores.progress import say_stage

TRACKED = "tracked"
"""Mark in the database: ends of the windows, by bundle, whose figures MLflow has."""


def show_course(job: Job) -> None:
    """Bring the dashboard and the runs up to what was measured; nothing depends on either."""
    spec = job.usecase.spec
    greater = {rule.metric: spec.greater_is_better[rule.metric] for rule in spec.monitoring.performance}
    measured = job.database.measurements(job.name, last=workspace.WINDOWS)
    if not measured:
        return
    workspace.keep_course(job.places.reports, job.name, spec.title, measured, greater)
    try:
        track_windows(job, measured, greater)
    except (UnreachableError, AccessError) as error:  # the next run catches up
        say_stage("monitor: MLflow does not take what was measured now: %s", error)


def track_windows(job: Job, measured: Sequence[Mapping[str, Any]], greater: Mapping[str, bool]) -> int:
    """Log windows whose labels are known to the runs of the versions that answered; returns how many that were.

    Parameters
    ----------
    measured : sequence of mappings
        The newest windows as the database keeps them, oldest first.
    """
    marked = json.loads(job.database.marked(job.name, TRACKED) or "{}")
    done = _logged(marked, measured)
    here, logged = Counter(content["champion"] for content in measured), 0
    # a step is the number of a window among its bundle's, from 0
    steps = {
        bundle: max(0, job.database.count_measurements(job.name, champion=bundle) - count) - 1
        for bundle, count in here.items()
    }
    registry = None
    for content in measured:
        bundle = content["champion"]
        steps[bundle] += 1
        if content["status"] == "unknown" or content["end"] in done.get(bundle, ()):
            continue
        registry = registry or job.registry()
        version = registry.find(bundle)
        if version is not None and version.run:
            figures = workspace.values_of(content, greater)
            named = {f"monitoring/{name.replace(' ', '_')}": value for name, value in figures.items()}
            if registry.log_window(version.run, named, datetime.fromisoformat(content["end"]), steps[bundle]):
                logged += 1
            else:
                say_stage(
                    "monitor: run %s of version %s was deleted in MLflow; it takes no window",
                    version.run,
                    version.version,
                )
        done.setdefault(bundle, []).append(content["end"])
    if done != marked:
        job.database.mark(job.name, TRACKED, json.dumps(done))
    return logged


def _logged(marked: Mapping[str, str | list[str]], measured: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return by bundle the ends of those windows that were logged.

    A mark of before labels were awaited out of order is the end of the last one: those known up to it were.
    """
    found: dict[str, list[str]] = {}
    for content in measured:
        bundle, end = content["champion"], content["end"]
        ends = marked.get(bundle, ())
        if content["status"] != "unknown" and (end <= ends if isinstance(ends, str) else end in ends):
            found.setdefault(bundle, []).append(end)
    return found
