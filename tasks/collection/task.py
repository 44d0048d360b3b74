"""Prefect's door to collection."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from expectations.errors import LakeError
from expectations.masking import mask
from tasks.collection.collecting import Collected, collect_sources
from tasks.collection.encrypted_columns import keyring_of
from tasks.stores.places import Job
from tasks.stores.progress import say_stage
from tasks.stores.stopwatch import timed
from tasks.stores.tombstones import FORGOTTEN


def _collect(job: Job) -> Collected:
    desired = job.releases.desired(job.name)
    if desired is not None and desired.champion is not None and job.lake.version("raw") is None:
        raise LakeError(
            f"the rows that the champion of {job.name} learnt from in {mask(job.lake.root)}",
            "no table of it there",
            "Bring the lake back, from a backup or by DRIFTWHEEL_LAKE; to begin anew, give the use case another name",
        )
    found = collect_sources(
        job.usecase,
        job.lake,
        job.as_of,
        job.places.secret,
        job.database.marked(job.name, FORGOTTEN),
        keyring_of(job.usecase.spec, job.lake, job.places.personal_keys),
    )
    say_stage("collect: %d new rows, %d corrected; read %s", found.new, found.corrected, _read(found))
    create_table_artifact(
        key=f"collected-{job.name}".replace("_", "-"),
        table=[
            {"source": source, "rows read": rows, "coverage": f"{found.coverage.get(source, 1.0):.2%}"}
            for source, rows in found.read.items()
        ],
        description=f"As of {job.as_of:%Y-%m-%d %H:%M} UTC: {found.new} new rows, {found.corrected} corrected, "
        f"{found.late} older than the lookback, {found.lost} lost: without an event time.",
    )
    return found


def _read(found: Collected) -> str:
    return ", ".join(f"{source} ({rows:,} rows)" for source, rows in found.read.items())


collect = task(name="collect sources", cache_policy=NO_CACHE, persist_result=False)(
    timed("collection", _collect, "step 1 of 2, reading the sources")
)
