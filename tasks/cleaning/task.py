"""Prefect's door to cleaning."""

from __future__ import annotations

import json

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from tasks.cleaning.cleaning import Cleaned, clean_batches
from tasks.cleaning.quarantine import enter_released
from tasks.stores.database import HELD, HELD_BATCH, VOUCHED
from tasks.stores.places import Job
from tasks.stores.progress import say_stage
from tasks.stores.stopwatch import timed


def validate_and_repair(job: Job) -> Cleaned:
    """Clean what waits and remember whether it is held; of two at once the second waits."""
    with job.lake.alone("cleaning"):
        enter_released(job.usecase, job.lake, job.database)  # what was killed before it said so
        found = clean_batches(job.usecase, job.lake, int(job.database.marked(job.name, VOUCHED) or 0))
        with job.database.transaction() as connection:
            job.database.put_mark(connection, job.name, HELD, json.dumps(found.held))
            job.database.put_mark(connection, job.name, HELD_BATCH, str(found.batch))
    return found


def _clean(job: Job) -> Cleaned:
    found = validate_and_repair(job)
    apart = sum(found.quarantined.values())
    say_stage("clean: %d rows judged, %d clean, %d failing rows set apart", found.rows, found.clean, apart)
    if found.outcomes:
        create_table_artifact(
            key=f"quality-{job.name}".replace("_", "-"),
            table=[
                {"expectation": name, "verdict": verdict, "failing rows": failing}
                for name, verdict, failing in found.outcomes
            ],
            description=f"As of {job.as_of:%Y-%m-%d %H:%M} UTC: {found.rows} rows judged, {found.clean} clean"
            + (", **held**" if found.held else ""),
        )
    return found


clean = task(name="validate and repair", cache_policy=NO_CACHE, persist_result=False)(
    timed("validation", _clean, "step 2 of 2, validating and repairing")
)
