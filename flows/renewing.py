"""Intervals that learnt again, on their way to the service."""

from __future__ import annotations

from expectations.errors import ReleaseError, UnreachableError
from tasks.bundles.intervals_in_force import KEPT, RELEASED
from tasks.deployment.releasing_intervals import release_intervals, restore_intervals
from tasks.monitoring.renewing import renew_intervals
from tasks.stores.ledger import INTERVALS, Entry
from tasks.stores.places import Job
from tasks.stores.progress import say_stage


def renew(job: Job) -> str | None:
    """Learn the champion's intervals again where that is due, and release them; returns what was released.

    Where another release was quicker the next run learns them; a service that is away, or has its bundle refused, takes
    them when it is back or the bundle is fixed.
    """
    try:
        restore_intervals(job)
        learnt = renew_intervals(job)
        if learnt is None:
            return None
        key = f"{job.name}/{INTERVALS}/{learnt.bundle[:12]}/{job.as_of.isoformat()}"
        action = KEPT if learnt.intervals is None else RELEASED
        entry = Entry(key, job.name, job.as_of, INTERVALS, action, learnt.cause, learnt.summary, learnt.evidence)
        if learnt.intervals is None:
            with job.database.transaction() as connection:
                job.database.write(connection, entry)
            say_stage("intervals: %s", learnt.summary)
            return None
        generation = release_intervals(job, learnt.bundle, learnt.intervals, entry)
    except (ReleaseError, UnreachableError) as error:  # of the service, which alerts on its own what it refuses
        say_stage("intervals: %s", error)
        return None
    say_stage("intervals: %s (generation %d)", learnt.summary, generation)
    return learnt.summary
